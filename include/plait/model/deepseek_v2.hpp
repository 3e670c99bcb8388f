#pragma once
// DeepSeek-V2 (arXiv 2405.04434; transformers models/deepseek_v2): parameter table and plans. Latent attention; the first layers are
// dense, the others have shared experts, which are one MLP that every token visits, beside those that a grouped choice routes to.
#include "plait/model/mixtral.hpp"
#include "plait/model/plan_parts.hpp"

namespace plait::inline v0_1 {

struct deepseek_v2 {
  static constexpr const char* name = "deepseek_v2";
  using D = decoder_dims;
  static constexpr parameter weights[] = {
      {"model.embed_tokens.weight", {D::vocabulary, D::hidden}, uneven{}},
      {"model.layers.*.input_layernorm.weight", {D::hidden}},
      {"model.layers.*.self_attn.q_proj.weight", {D::query_width, D::hidden}, unit(0, D::head_dim), not_given(D::query_rank)},
      {"model.layers.*.self_attn.q_a_proj.weight", {D::query_rank, D::hidden}, given(D::query_rank)},
      {"model.layers.*.self_attn.q_a_proj.bias", {D::query_rank}, given(D::query_bias)},
      {"model.layers.*.self_attn.q_a_layernorm.weight", {D::query_rank}, given(D::query_rank)},
      {"model.layers.*.self_attn.q_b_proj.weight", {D::query_width, D::query_rank}, unit(0, D::head_dim), given(D::query_rank)},
      {"model.layers.*.self_attn.kv_a_proj_with_mqa.weight", {D::latent_width, D::hidden}},
      {"model.layers.*.self_attn.kv_a_proj_with_mqa.bias", {D::latent_width}, given(D::latent_bias)},
      {"model.layers.*.self_attn.kv_a_layernorm.weight", {D::latent_rank}},
      {"model.layers.*.self_attn.kv_b_proj.weight", {D::expanded_width, D::latent_rank}, unit(0, D::expanded_head)},
      {"model.layers.*.self_attn.o_proj.weight", {D::hidden, D::value_width}, unit(1, D::value_head)},
      {"model.layers.*.self_attn.o_proj.bias", {D::hidden}, given(D::latent_bias)},
      {"model.layers.*.post_attention_layernorm.weight", {D::hidden}},
      {"model.layers.*.mlp.gate.weight", {D::experts, D::hidden}, layer_kind::sparse},
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
  static constexpr auto with_dense_mlp_biases = with_rows(weights, dense_mlp_biases);
  static constexpr auto table = with_rows(with_dense_mlp_biases.rows, shared_expert_biases);
  static constexpr auto& parameters = table.rows;
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[3], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

// Mixtral's plans with latent attention and the shared experts.
struct deepseek_v2_tp : amend<mixtral_tp, latent_attention<tp>, no_keys_and_values, shared_expert<tp>, shared_expert_bias<replicated<tp>>, dense_mlp<rowwise<tp>>> {};
struct deepseek_v2_sp : amend<mixtral_sp, latent_attention<tp>, no_keys_and_values, shared_expert<tp>, shared_expert_bias<sequence_parallel<tp>>, dense_mlp<rowwise_scatter<tp>>> {};
struct deepseek_v2_tp_ep
    : amend<mixtral_tp_ep, latent_attention<tp>, no_keys_and_values, shared_expert<ep, fsdp<efsdp>>, shared_expert_bias<replicated<tp>>,
            dense_mlp<rowwise<tp>>, mixed_layers> {};
struct deepseek_v2_sp_ep
    : amend<mixtral_sp_ep, latent_attention<tp>, no_keys_and_values, shared_expert<ep, fsdp<efsdp>>, shared_expert_bias<sequence_parallel<tp>>,
            dense_mlp<rowwise_scatter<tp>>, mixed_layers> {};

static_assert(covers<deepseek_v2_tp, deepseek_v2> && covers<deepseek_v2_sp, deepseek_v2> && covers<deepseek_v2_tp_ep, deepseek_v2> &&
              covers<deepseek_v2_sp_ep, deepseek_v2>);

}  // namespace plait::inline v0_1
