#pragma once
// OLMoE (arXiv 2409.02060; transformers models/olmoe): parameter table and plans. q and k are normalised over all heads together, for
// which they are gathered; then every rank goes on with its own heads.
#include "plait/model/mixtral.hpp"
#include "plait/model/plan_parts.hpp"

namespace plait::inline v0_1 {

struct olmoe {
  static constexpr const char* name = "olmoe";
  static constexpr bool clamps_heads = true;
  using D = decoder_dims;
  static constexpr parameter weights[] = {
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
      {"model.layers.*.mlp.experts.gate_up_proj", {D::experts, D::expert_width_2, D::hidden}, packed(1, 2), layer_kind::sparse},
      {"model.layers.*.mlp.experts.down_proj", {D::experts, D::hidden, D::expert_width}, layer_kind::sparse},
      {"model.norm.weight", {D::hidden}},
      {"lm_head.weight", {D::vocabulary, D::hidden}, uneven{}},
  };
  static constexpr auto table = with_rows(weights, attention_biases);
  static constexpr auto& parameters = table.rows;
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

// Mixtral's plans and what this family has more.
struct olmoe_tp : amend<mixtral_tp, whole_norms<tp>> {};
struct olmoe_sp : amend<mixtral_sp, whole_norms<tp>> {};
struct olmoe_tp_ep : amend<mixtral_tp_ep, whole_norms<tp>> {};
struct olmoe_sp_ep : amend<mixtral_sp_ep, whole_norms<tp>> {};

static_assert(covers<olmoe_tp, olmoe> && covers<olmoe_sp, olmoe> && covers<olmoe_tp_ep, olmoe> && covers<olmoe_sp_ep, olmoe>);

}  // namespace plait::inline v0_1
