#pragma once
// MiniMax-M2 (transformers models/minimax_m2): parameter table and plans. A sigmoid router with a correction of the choice; q and k are
// normalised over all heads together, for which they are gathered; heads may turn in part.
#include "plait/model/mixtral.hpp"
#include "plait/model/plan_parts.hpp"

namespace plait::inline v0_1 {

struct minimax_m2 {
  static constexpr const char* name = "minimax_m2";
  using D = decoder_dims;
  static constexpr parameter parameters[] = {
      {"model.embed_tokens.weight", {D::vocabulary, D::hidden}, uneven{}},
      {"model.layers.*.input_layernorm.weight", {D::hidden}},
      {"model.layers.*.self_attn.q_proj.weight", {D::query_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.k_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.v_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.o_proj.weight", {D::hidden, D::query_width}, unit(1, D::head_dim)},
      {"model.layers.*.self_attn.q_norm.weight", {D::query_width}},
      {"model.layers.*.self_attn.k_norm.weight", {D::key_value_width}},
      {"model.layers.*.post_attention_layernorm.weight", {D::hidden}},
      {"model.layers.*.mlp.gate.weight", {D::experts, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.gate.e_score_correction_bias", {D::experts}, frozen{}, layer_kind::sparse},
      {"model.layers.*.mlp.experts.gate_up_proj", {D::experts, D::expert_width_2, D::hidden}, packed(1, 2), layer_kind::sparse},
      {"model.layers.*.mlp.experts.down_proj", {D::experts, D::hidden, D::expert_width}, layer_kind::sparse},
      {"model.norm.weight", {D::hidden}},
      {"lm_head.weight", {D::vocabulary, D::hidden}, uneven{}},
  };
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

// Mixtral's plans and what this family has more.
struct minimax_m2_tp : amend<mixtral_tp, whole_norms<tp>> {};
struct minimax_m2_sp : amend<mixtral_sp, whole_norms<tp>> {};
struct minimax_m2_tp_ep : amend<mixtral_tp_ep, whole_norms<tp>> {};
struct minimax_m2_sp_ep : amend<mixtral_sp_ep, whole_norms<tp>> {};

static_assert(covers<minimax_m2_tp, minimax_m2> && covers<minimax_m2_sp, minimax_m2> && covers<minimax_m2_tp_ep, minimax_m2> && covers<minimax_m2_sp_ep, minimax_m2>);

}  // namespace plait::inline v0_1
