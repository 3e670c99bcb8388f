#pragma once
// Phi-3.5-MoE (arXiv 2404.14219; transformers models/phimoe): parameter table; its plans are Mixtral's. LayerNorm with biases; SparseMixer
// chooses two experts, in training as in evaluation (the class's training draws them at random).
#include "plait/model/mixtral.hpp"

namespace plait::inline v0_1 {

struct phimoe {
  static constexpr const char* name = "phimoe";
  using D = decoder_dims;
  static constexpr parameter parameters[] = {
      {"model.embed_tokens.weight", {D::vocabulary, D::hidden}, uneven{}},
      {"model.layers.*.input_layernorm.weight", {D::hidden}},
      {"model.layers.*.input_layernorm.bias", {D::hidden}},
      {"model.layers.*.self_attn.q_proj.weight", {D::query_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.q_proj.bias", {D::query_width}, unit(0, D::head_dim), given(D::qkv_bias)},
      {"model.layers.*.self_attn.k_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.k_proj.bias", {D::key_value_width}, unit(0, D::head_dim), given(D::qkv_bias)},
      {"model.layers.*.self_attn.v_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.v_proj.bias", {D::key_value_width}, unit(0, D::head_dim), given(D::qkv_bias)},
      {"model.layers.*.self_attn.o_proj.weight", {D::hidden, D::query_width}, unit(1, D::head_dim)},
      {"model.layers.*.self_attn.o_proj.bias", {D::hidden}, given(D::output_bias)},
      {"model.layers.*.post_attention_layernorm.weight", {D::hidden}},
      {"model.layers.*.post_attention_layernorm.bias", {D::hidden}},
      {"model.layers.*.mlp.gate.weight", {D::experts, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.experts.gate_up_proj", {D::experts, D::expert_width_2, D::hidden}, packed(1, 2), layer_kind::sparse},
      {"model.layers.*.mlp.experts.down_proj", {D::experts, D::hidden, D::expert_width}, layer_kind::sparse},
      {"model.norm.weight", {D::hidden}},
      {"model.norm.bias", {D::hidden}},
      {"lm_head.weight", {D::vocabulary, D::hidden}, uneven{}},
      {"lm_head.bias", {D::vocabulary}, uneven{}, given(D::head_bias)},
  };
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

static_assert(covers<mixtral_tp, phimoe> && covers<mixtral_sp, phimoe> && covers<mixtral_tp_ep, phimoe> && covers<mixtral_sp_ep, phimoe>);

}  // namespace plait::inline v0_1
