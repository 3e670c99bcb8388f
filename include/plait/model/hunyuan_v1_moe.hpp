#pragma once
// Hunyuan V1 MoE (transformers models/hunyuan_v1_moe): parameter table and plans. q and k are normalised per head after the rotary
// embedding; every token also visits one shared expert, which is cut over the experts' ranks.
#include "plait/model/mixtral.hpp"
#include "plait/model/plan_parts.hpp"

namespace plait::inline v0_1 {

struct hunyuan_v1_moe {
  static constexpr const char* name = "hunyuan_v1_moe";
  static constexpr bool normalises_rotated = true;
  using D = decoder_dims;
  static constexpr parameter weights[] = {
      {"model.embed_tokens.weight", {D::vocabulary, D::hidden}, uneven{}},
      {"model.layers.*.input_layernorm.weight", {D::hidden}},
      {"model.layers.*.self_attn.q_proj.weight", {D::query_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.k_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.v_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.o_proj.weight", {D::hidden, D::query_width}, unit(1, D::head_dim)},
      {"model.layers.*.self_attn.q_norm.weight", {D::head_dim}},
      {"model.layers.*.self_attn.k_norm.weight", {D::head_dim}},
      {"model.layers.*.post_attention_layernorm.weight", {D::hidden}},
      {"model.layers.*.mlp.gate.weight", {D::experts, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.experts.gate_up_proj", {D::experts, D::expert_width_2, D::hidden}, packed(1, 2), layer_kind::sparse},
      {"model.layers.*.mlp.experts.down_proj", {D::experts, D::hidden, D::expert_width}, layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.gate_proj.weight", {D::shared_width, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.up_proj.weight", {D::shared_width, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.down_proj.weight", {D::hidden, D::shared_width}, layer_kind::sparse},
      {"model.norm.weight", {D::hidden}},
      {"lm_head.weight", {D::vocabulary, D::hidden}, uneven{}},
  };
  static constexpr auto table = with_rows(weights, attention_biases);
  static constexpr auto& parameters = table.rows;
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

// Mixtral's plans and what this family has more.
struct hunyuan_v1_moe_tp : amend<mixtral_tp, head_norms<tp>, shared_expert<tp>> {};
struct hunyuan_v1_moe_sp : amend<mixtral_sp, head_norms<tp>, shared_expert<tp>> {};
struct hunyuan_v1_moe_tp_ep : amend<mixtral_tp_ep, head_norms<tp>, shared_expert<ep, fsdp<efsdp>>> {};
struct hunyuan_v1_moe_sp_ep : amend<mixtral_sp_ep, head_norms<tp>, shared_expert<ep, fsdp<efsdp>>> {};

static_assert(covers<hunyuan_v1_moe_tp, hunyuan_v1_moe> && covers<hunyuan_v1_moe_sp, hunyuan_v1_moe> && covers<hunyuan_v1_moe_tp_ep, hunyuan_v1_moe> && covers<hunyuan_v1_moe_sp_ep, hunyuan_v1_moe>);

}  // namespace plait::inline v0_1
