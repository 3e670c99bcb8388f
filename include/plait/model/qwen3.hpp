#pragma once
// Qwen3 (arXiv 2505.09388; transformers models/qwen3): parameter table and plans. All layers are dense; q and k are normalised per
// head.
#include "plait/model/llama.hpp"
#include "plait/model/plan_parts.hpp"

namespace plait::inline v0_1 {

struct qwen3 {
  static constexpr const char* name = "qwen3";
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
      {"model.layers.*.mlp.gate_proj.weight", {D::dense_width, D::hidden}, layer_kind::dense},
      {"model.layers.*.mlp.up_proj.weight", {D::dense_width, D::hidden}, layer_kind::dense},
      {"model.layers.*.mlp.down_proj.weight", {D::hidden, D::dense_width}, layer_kind::dense},
      {"model.norm.weight", {D::hidden}},
      {"lm_head.weight", {D::vocabulary, D::hidden}, uneven{}},
  };
  static constexpr auto table = with_rows(weights, attention_biases);
  static constexpr auto& parameters = table.rows;
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[3], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

// Llama's plans and the norms of q and k.
struct qwen3_tp : amend<llama_tp, head_norms<tp>> {};
struct qwen3_sp : amend<llama_sp, head_norms<tp>> {};

static_assert(covers<qwen3_tp, qwen3> && covers<qwen3_sp, qwen3>);

}  // namespace plait::inline v0_1
