#pragma once
// Granite MoE (transformers models/granitemoe): Mixtral's table and plans. What is its own are numbers that multiply the embedding,
// q k^T, what joins the residual stream, and the logits; they are run-time scalars of the configuration.
#include "plait/model/mixtral.hpp"

namespace plait::inline v0_1 {

struct granitemoe : mixtral {
  static constexpr const char* name = "granitemoe";
  static constexpr auto table = with_rows(mixtral::parameters, attention_biases);
  static constexpr auto& parameters = table.rows;
};

static_assert(covers<mixtral_tp, granitemoe> && covers<mixtral_sp, granitemoe> && covers<mixtral_tp_ep, granitemoe> && covers<mixtral_sp_ep, granitemoe>);

}  // namespace plait::inline v0_1
