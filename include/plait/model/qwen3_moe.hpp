#pragma once
// Qwen3-MoE (arXiv 2505.09388; transformers models/qwen3_moe): parameter table and plans. Dense layers may stand between sparse
// ones; q and k are normalised per head.
#include "plait/model/mixtral.hpp"
#include "plait/model/plan_parts.hpp"

namespace plait::inline v0_1 {

struct qwen3_moe {
  static constexpr const char* name = "qwen3_moe";
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
      {"model.layers.*.mlp.gate_proj.weight", {D::dense_width, D::hidden}, layer_kind::dense},
      {"model.layers.*.mlp.up_proj.weight", {D::dense_width, D::hidden}, layer_kind::dense},
      {"model.layers.*.mlp.down_proj.weight", {D::hidden, D::dense_width}, layer_kind::dense},
      {"model.norm.weight", {D::hidden}},
      {"lm_head.weight", {D::vocabulary, D::hidden}, uneven{}},
  };
  static constexpr auto table = with_rows(weights, attention_biases);
  static constexpr auto& parameters = table.rows;
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[3], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

// Mixtral's plans and what this family has more.
struct qwen3_moe_tp : amend<mixtral_tp, head_norms<tp>, dense_mlp<rowwise<tp>>> {};
struct qwen3_moe_sp : amend<mixtral_sp, head_norms<tp>, dense_mlp<rowwise_scatter<tp>>> {};
struct qwen3_moe_tp_ep : amend<mixtral_tp_ep, head_norms<tp>, dense_mlp<rowwise<tp>>, mixed_layers> {};
struct qwen3_moe_sp_ep : amend<mixtral_sp_ep, head_norms<tp>, dense_mlp<rowwise_scatter<tp>>, mixed_layers> {};

static_assert(covers<qwen3_moe_tp, qwen3_moe> && covers<qwen3_moe_sp, qwen3_moe> && covers<qwen3_moe_tp_ep, qwen3_moe> && covers<qwen3_moe_sp_ep, qwen3_moe>);

}  // namespace plait::inline v0_1
