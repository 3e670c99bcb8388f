#pragma once
// GLM-4.5 (arXiv 2508.06471; transformers models/glm4_moe): parameter table and plans. The first layers are dense, the others have shared
// experts beside those that a sigmoid router chooses, by groups and with a correction; heads turn in part; q and k may be normalised.
#include "plait/model/mixtral.hpp"
#include "plait/model/plan_parts.hpp"

namespace plait::inline v0_1 {

struct glm4_moe {
  static constexpr const char* name = "glm4_moe";
  using D = decoder_dims;
  static constexpr parameter parameters[] = {
      {"model.embed_tokens.weight", {D::vocabulary, D::hidden}, uneven{}},
      {"model.layers.*.input_layernorm.weight", {D::hidden}},
      {"model.layers.*.self_attn.q_proj.weight", {D::query_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.q_proj.bias", {D::query_width}, unit(0, D::head_dim), given(D::qkv_bias)},
      {"model.layers.*.self_attn.k_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.k_proj.bias", {D::key_value_width}, unit(0, D::head_dim), given(D::qkv_bias)},
      {"model.layers.*.self_attn.v_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.v_proj.bias", {D::key_value_width}, unit(0, D::head_dim), given(D::qkv_bias)},
      {"model.layers.*.self_attn.o_proj.weight", {D::hidden, D::query_width}, unit(1, D::head_dim)},
      {"model.layers.*.self_attn.q_norm.weight", {D::head_dim}, given(D::head_norm)},
      {"model.layers.*.self_attn.k_norm.weight", {D::head_dim}, given(D::head_norm)},
      {"model.layers.*.post_attention_layernorm.weight", {D::hidden}},
      {"model.layers.*.mlp.gate.weight", {D::experts, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.gate.e_score_correction_bias", {D::experts}, frozen{}, layer_kind::sparse},
      {"model.layers.*.mlp.experts.gate_up_proj", {D::experts, D::expert_width_2, D::hidden}, packed(1, 2), layer_kind::sparse},
      {"model.layers.*.mlp.experts.down_proj", {D::experts, D::hidden, D::expert_width}, layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.gate_proj.weight", {D::shared_width, D::hidden}, given(D::shared_width), layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.up_proj.weight", {D::shared_width, D::hidden}, given(D::shared_width), layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.down_proj.weight", {D::hidden, D::shared_width}, given(D::shared_width), layer_kind::sparse},
      {"model.layers.*.mlp.gate_proj.weight", {D::dense_width, D::hidden}, layer_kind::dense},
      {"model.layers.*.mlp.up_proj.weight", {D::dense_width, D::hidden}, layer_kind::dense},
      {"model.layers.*.mlp.down_proj.weight", {D::hidden, D::dense_width}, layer_kind::dense},
      {"model.norm.weight", {D::hidden}},
      {"lm_head.weight", {D::vocabulary, D::hidden}, uneven{}},
  };
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[3], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

// Mixtral's plans and what this family has more.
struct glm4_moe_tp : amend<mixtral_tp, head_norms<tp>, shared_expert<tp>, dense_mlp<rowwise<tp>>> {};
struct glm4_moe_sp : amend<mixtral_sp, head_norms<tp>, shared_expert<tp>, dense_mlp<rowwise_scatter<tp>>> {};
struct glm4_moe_tp_ep : amend<mixtral_tp_ep, head_norms<tp>, shared_expert<ep, fsdp<efsdp>>, dense_mlp<rowwise<tp>>, mixed_layers> {};
struct glm4_moe_sp_ep : amend<mixtral_sp_ep, head_norms<tp>, shared_expert<ep, fsdp<efsdp>>, dense_mlp<rowwise_scatter<tp>>, mixed_layers> {};

static_assert(covers<glm4_moe_tp, glm4_moe> && covers<glm4_moe_sp, glm4_moe> && covers<glm4_moe_tp_ep, glm4_moe> && covers<glm4_moe_sp_ep, glm4_moe>);

}  // namespace plait::inline v0_1
