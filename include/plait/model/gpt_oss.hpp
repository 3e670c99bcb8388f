#pragma once
// gpt-oss (arXiv 2508.10925; transformers models/gpt_oss): parameter table and plans. Layers attend to a window and to everything in
// turn, with a sink a head; everything has biases; experts lie as [E, in, out], gate and up in turn.
#include "plait/model/mixtral.hpp"
#include "plait/model/plan_parts.hpp"

namespace plait::inline v0_1 {

struct gpt_oss {
  static constexpr const char* name = "gpt_oss";
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
      {"model.layers.*.self_attn.sinks", {D::heads}},
      {"model.layers.*.post_attention_layernorm.weight", {D::hidden}},
      {"model.layers.*.mlp.gate.weight", {D::experts, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.gate.bias", {D::experts}, layer_kind::sparse},
      {"model.layers.*.mlp.experts.gate_up_proj", {D::experts, D::hidden, D::expert_width_2}, unit(2, 2), layer_kind::sparse},
      {"model.layers.*.mlp.experts.gate_up_proj_bias", {D::experts, D::expert_width_2}, unit(1, 2), layer_kind::sparse},
      {"model.layers.*.mlp.experts.down_proj", {D::experts, D::expert_width, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.experts.down_proj_bias", {D::experts, D::hidden}, layer_kind::sparse},
      {"model.norm.weight", {D::hidden}},
      {"lm_head.weight", {D::vocabulary, D::hidden}, uneven{}},
  };
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

/// Experts cut inside: pairs of gate and up stay together; the down projection's bias joins the pending sum once.
template <class Axis>
using gpt_oss_cut_experts = parameters<
    rule<"model.layers.*.mlp.experts.gate_up_proj", moe_gate_up_paired_transposed<Axis>>,
    rule<"model.layers.*.mlp.experts.gate_up_proj_bias", moe_gate_up_paired_transposed<Axis>>,
    rule<"model.layers.*.mlp.experts.down_proj", moe_down_rowwise_transposed<Axis>>,
    rule<"model.layers.*.mlp.experts.down_proj_bias", moe_down_rowwise_transposed<Axis>>>;
using gpt_oss_whole_experts = parameters<
    rule<"model.layers.*.mlp.experts.gate_up_proj_bias", grouped_gemm<ep>, fsdp<efsdp>>,
    rule<"model.layers.*.mlp.experts.down_proj_bias", grouped_gemm<ep>, fsdp<efsdp>>>;

struct gpt_oss_tp : amend<mixtral_tp, head_sinks<tp>, gpt_oss_cut_experts<tp>> {};
struct gpt_oss_sp : amend<mixtral_sp, head_sinks<tp>, gpt_oss_cut_experts<tp>> {};
struct gpt_oss_tp_ep : amend<mixtral_tp_ep, head_sinks<tp>, gpt_oss_whole_experts> {};
struct gpt_oss_sp_ep : amend<mixtral_sp_ep, head_sinks<tp>, gpt_oss_whole_experts> {};

static_assert(covers<gpt_oss_tp, gpt_oss> && covers<gpt_oss_sp, gpt_oss> && covers<gpt_oss_tp_ep, gpt_oss> && covers<gpt_oss_sp_ep, gpt_oss>);

}  // namespace plait::inline v0_1
