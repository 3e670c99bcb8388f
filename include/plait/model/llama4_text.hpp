#pragma once
// Llama 4's text model (transformers models/llama4): parameter table and plans. Layers attend to chunks with a rotary embedding, or to
// everything without one; experts lie as [E, in, out] and get their tokens weighted, and beside them every token visits one expert more.
#include "plait/model/mixtral.hpp"
#include "plait/model/plan_parts.hpp"

namespace plait::inline v0_1 {

struct llama4_text {
  static constexpr const char* name = "llama4_text";
  using D = decoder_dims;
  static constexpr given biases{D::attention_bias};
  static constexpr parameter parameters[] = {
      {"model.embed_tokens.weight", {D::vocabulary, D::hidden}, uneven{}},
      {"model.layers.*.input_layernorm.weight", {D::hidden}},
      {"model.layers.*.self_attn.q_proj.weight", {D::query_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.q_proj.bias", {D::query_width}, unit(0, D::head_dim), biases},
      {"model.layers.*.self_attn.k_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.k_proj.bias", {D::key_value_width}, unit(0, D::head_dim), biases},
      {"model.layers.*.self_attn.v_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.v_proj.bias", {D::key_value_width}, unit(0, D::head_dim), biases},
      {"model.layers.*.self_attn.o_proj.weight", {D::hidden, D::query_width}, unit(1, D::head_dim)},
      {"model.layers.*.self_attn.o_proj.bias", {D::hidden}, biases},
      {"model.layers.*.post_attention_layernorm.weight", {D::hidden}},
      {"model.layers.*.mlp.gate.weight", {D::experts, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.experts.gate_up_proj", {D::experts, D::hidden, D::expert_width_2}, packed(2, 2), layer_kind::sparse},
      {"model.layers.*.mlp.experts.down_proj", {D::experts, D::expert_width, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.gate_proj.weight", {D::shared_width, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.up_proj.weight", {D::shared_width, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.shared_expert.down_proj.weight", {D::hidden, D::shared_width}, layer_kind::sparse},
      {"model.layers.*.mlp.gate_proj.weight", {D::dense_width, D::hidden}, layer_kind::dense},
      {"model.layers.*.mlp.up_proj.weight", {D::dense_width, D::hidden}, layer_kind::dense},
      {"model.layers.*.mlp.down_proj.weight", {D::hidden, D::dense_width}, layer_kind::dense},
      {"model.norm.weight", {D::hidden}},
      {"lm_head.weight", {D::vocabulary, D::hidden}, uneven{}},
  };
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[3], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

template <class Axis>
using llama4_cut_experts = parameters<
    rule<"model.layers.*.mlp.experts.gate_up_proj", moe_gate_up_colwise_transposed<Axis>>,
    rule<"model.layers.*.mlp.experts.down_proj", moe_down_rowwise_transposed<Axis>>>;

struct llama4_text_tp : amend<mixtral_tp, llama4_cut_experts<tp>, shared_expert<tp>, dense_mlp<rowwise<tp>>> {};
struct llama4_text_sp : amend<mixtral_sp, llama4_cut_experts<tp>, shared_expert<tp>, dense_mlp<rowwise_scatter<tp>>> {};
struct llama4_text_tp_ep : amend<mixtral_tp_ep, shared_expert<ep, fsdp<efsdp>>, dense_mlp<rowwise<tp>>, mixed_layers> {};
struct llama4_text_sp_ep : amend<mixtral_sp_ep, shared_expert<ep, fsdp<efsdp>>, dense_mlp<rowwise_scatter<tp>>, mixed_layers> {};

static_assert(covers<llama4_text_tp, llama4_text> && covers<llama4_text_sp, llama4_text> && covers<llama4_text_tp_ep, llama4_text> &&
              covers<llama4_text_sp_ep, llama4_text>);

}  // namespace plait::inline v0_1
