#pragma once
// DeepSeek-V3 (arXiv 2412.19437; transformers models/deepseek_v3): DeepSeek-V2 with a sigmoid router, whose choice of experts is corrected
// by numbers that are not trained. The layers that predict further tokens are not part of it.
#include "plait/model/deepseek_v2.hpp"

namespace plait::inline v0_1 {

struct deepseek_v3 : deepseek_v2 {
  static constexpr const char* name = "deepseek_v3";
  static constexpr parameter correction[] = {{"model.layers.*.mlp.gate.e_score_correction_bias", {D::experts}, frozen{}, layer_kind::sparse}};
  static constexpr auto table = with_rows(deepseek_v2::parameters, correction);
  static constexpr auto& parameters = table.rows;
};

// The gate's rule places its correction, too.
static_assert(covers<deepseek_v2_tp, deepseek_v3> && covers<deepseek_v2_sp, deepseek_v3> && covers<deepseek_v2_tp_ep, deepseek_v3> &&
              covers<deepseek_v2_sp_ep, deepseek_v3>);

}  // namespace plait::inline v0_1
