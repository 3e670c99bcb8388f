#pragma once
// ERNIE 4.5 MoE (transformers models/ernie4_5_moe): parameter table and plans. Dense layers may stand before, between and after the sparse
// ones, which have shared experts beside those that a softmax router with a correction of the choice routes to; neighbouring columns turn.
#include "plait/model/mixtral.hpp"
#include "plait/model/plan_parts.hpp"

namespace plait::inline v0_1 {

struct ernie4_5_moe {
  static constexpr const char* name = "ernie4_5_moe";
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
      {"model.layers.*.self_attn.o_proj.bias", {D::hidden}, given(D::output_bias)},
      {"model.layers.*.post_attention_layernorm.weight", {D::hidden}},
      {"model.layers.*.mlp.gate.weight", {D::experts, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.gate.e_score_correction_bias", {1, D::experts}, frozen{}, layer_kind::sparse},
      {"model.layers.*.mlp.experts.gate_up_proj", {D::experts, D::expert_width_2, D::hidden}, packed(1, 2), layer_kind::sparse},
      {"model.layers.*.mlp.experts.down_proj", {D::experts, D::hidden, D::expert_width}, layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.gate_proj.weight", {D::shared_width, D::hidden}, given(D::shared_width), layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.gate_proj.bias", {D::shared_width}, given(D::shared_bias), layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.up_proj.weight", {D::shared_width, D::hidden}, given(D::shared_width), layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.up_proj.bias", {D::shared_width}, given(D::shared_bias), layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.down_proj.weight", {D::hidden, D::shared_width}, given(D::shared_width), layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.down_proj.bias", {D::hidden}, given(D::shared_bias), layer_kind::sparse},
      {"model.layers.*.mlp.gate_proj.weight", {D::dense_width, D::hidden}, layer_kind::dense},
      {"model.layers.*.mlp.gate_proj.bias", {D::dense_width}, given(D::mlp_bias), layer_kind::dense},
      {"model.layers.*.mlp.up_proj.weight", {D::dense_width, D::hidden}, layer_kind::dense},
      {"model.layers.*.mlp.up_proj.bias", {D::dense_width}, given(D::mlp_bias), layer_kind::dense},
      {"model.layers.*.mlp.down_proj.weight", {D::hidden, D::dense_width}, layer_kind::dense},
      {"model.layers.*.mlp.down_proj.bias", {D::hidden}, given(D::mlp_bias), layer_kind::dense},
      {"model.norm.weight", {D::hidden}},
      {"lm_head.weight", {D::vocabulary, D::hidden}, uneven{}},
      {"lm_head.bias", {D::vocabulary}, uneven{}, given(D::head_bias)},
  };
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[3], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

// Mixtral's plans and what this family has more.
struct ernie4_5_moe_tp : amend<mixtral_tp, shared_expert<tp>, shared_expert_bias<replicated<tp>>, dense_mlp<rowwise<tp>>> {};
struct ernie4_5_moe_sp : amend<mixtral_sp, shared_expert<tp>, shared_expert_bias<sequence_parallel<tp>>, dense_mlp<rowwise_scatter<tp>>> {};
struct ernie4_5_moe_tp_ep : amend<mixtral_tp_ep, shared_expert<ep, fsdp<efsdp>>, shared_expert_bias<replicated<tp>>, dense_mlp<rowwise<tp>>, mixed_layers> {};
struct ernie4_5_moe_sp_ep : amend<mixtral_sp_ep, shared_expert<ep, fsdp<efsdp>>, shared_expert_bias<sequence_parallel<tp>>, dense_mlp<rowwise_scatter<tp>>, mixed_layers> {};

static_assert(covers<ernie4_5_moe_tp, ernie4_5_moe> && covers<ernie4_5_moe_sp, ernie4_5_moe> && covers<ernie4_5_moe_tp_ep, ernie4_5_moe> && covers<ernie4_5_moe_sp_ep, ernie4_5_moe>);

}  // namespace plait::inline v0_1
