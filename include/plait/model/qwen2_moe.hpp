#pragma once
// Qwen2-MoE (arXiv 2407.10671; transformers models/qwen2_moe): parameter table and plans. q, k and v have biases; every token also
// visits one shared expert, whose output a gate weights. It is cut over the experts' ranks, so both outputs are sums over the same
// ranks, which are added before they are reduced.
#include "plait/model/mixtral.hpp"
#include "plait/model/plan_parts.hpp"

namespace plait::inline v0_1 {

struct qwen2_moe {
  static constexpr const char* name = "qwen2_moe";
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
      {"model.layers.*.post_attention_layernorm.weight", {D::hidden}},
      {"model.layers.*.mlp.gate.weight", {D::experts, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.experts.gate_up_proj", {D::experts, D::expert_width_2, D::hidden}, packed(1, 2), layer_kind::sparse},
      {"model.layers.*.mlp.experts.down_proj", {D::experts, D::hidden, D::expert_width}, layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.gate_proj.weight", {D::shared_width, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.up_proj.weight", {D::shared_width, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.down_proj.weight", {D::hidden, D::shared_width}, layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert_gate.weight", {1, D::hidden}, layer_kind::sparse},
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
struct qwen2_moe_tp : amend<mixtral_tp, gated_shared_expert<tp>, dense_mlp<rowwise<tp>>> {};
struct qwen2_moe_sp : amend<mixtral_sp, gated_shared_expert<tp>, dense_mlp<rowwise_scatter<tp>>> {};
struct qwen2_moe_tp_ep : amend<mixtral_tp_ep, gated_shared_expert<ep, fsdp<efsdp>>, dense_mlp<rowwise<tp>>, mixed_layers> {};
struct qwen2_moe_sp_ep : amend<mixtral_sp_ep, gated_shared_expert<ep, fsdp<efsdp>>, dense_mlp<rowwise_scatter<tp>>, mixed_layers> {};

static_assert(covers<qwen2_moe_tp, qwen2_moe> && covers<qwen2_moe_sp, qwen2_moe> && covers<qwen2_moe_tp_ep, qwen2_moe> && covers<qwen2_moe_sp_ep, qwen2_moe>);

}  // namespace plait::inline v0_1
