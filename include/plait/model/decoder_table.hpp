#pragma once
// Symbols of decoder-only transformers, and the activation points that their forward pass asks the plan about.
#include "plait/plan/parameter_table.hpp"

namespace plait::inline v0_1 {

/// Extents that config.json supplies, as symbols for parameter tables.
struct decoder_dims {
  static constexpr int vocabulary = symbol(0), hidden = symbol(1), query_width = symbol(2), key_value_width = symbol(3),
                       head_dim = symbol(4), dense_width = symbol(5), expert_width = symbol(6), expert_width_2 = symbol(7),
                       experts = symbol(8), shared_width = symbol(9);
  // Of latent attention: the queries' rank (0: they have none) and the keys' and values', the latter with the rotary key beside it;
  // a head's unturned part and values, and those of all heads; values of a head and of all heads;
  // 1 where the projections that have biases in this class do (the queries' where they have a rank).
  static constexpr int query_rank = symbol(10), latent_rank = symbol(11), latent_width = symbol(12), expanded_head = symbol(13),
                       expanded_width = symbol(14), value_head = symbol(15), value_width = symbol(16), latent_bias = symbol(17), query_bias = symbol(18);
  static constexpr int heads = symbol(19), attention_bias = symbol(20);  // the latter 1 where q, k, v and o have biases
  // 1 where the projections of q, k and v, that of the output, dense MLPs, shared experts and the head have biases, where heads are normalised.
  static constexpr int qkv_bias = symbol(21), output_bias = symbol(22), mlp_bias = symbol(23),
                       shared_bias = symbol(24), head_bias = symbol(25), head_norm = symbol(26);
  static constexpr int count = 27;
};

/// Biases of attention's projections and of dense MLPs, for models that have them where the configuration says so (with_rows).
inline constexpr parameter attention_biases[] = {
    {"model.layers.*.self_attn.q_proj.bias", {decoder_dims::query_width}, unit(0, decoder_dims::head_dim), given(decoder_dims::qkv_bias)},
    {"model.layers.*.self_attn.k_proj.bias", {decoder_dims::key_value_width}, unit(0, decoder_dims::head_dim), given(decoder_dims::qkv_bias)},
    {"model.layers.*.self_attn.v_proj.bias", {decoder_dims::key_value_width}, unit(0, decoder_dims::head_dim), given(decoder_dims::qkv_bias)},
    {"model.layers.*.self_attn.o_proj.bias", {decoder_dims::hidden}, given(decoder_dims::output_bias)},
};
inline constexpr parameter dense_mlp_biases[] = {
    {"model.layers.*.mlp.gate_proj.bias", {decoder_dims::dense_width}, given(decoder_dims::mlp_bias), layer_kind::dense},
    {"model.layers.*.mlp.up_proj.bias", {decoder_dims::dense_width}, given(decoder_dims::mlp_bias), layer_kind::dense},
    {"model.layers.*.mlp.down_proj.bias", {decoder_dims::hidden}, given(decoder_dims::mlp_bias), layer_kind::dense},
};
inline constexpr parameter shared_expert_biases[] = {
    {"model.layers.*.mlp.shared_expert.gate_proj.bias", {decoder_dims::shared_width}, given(decoder_dims::shared_bias), layer_kind::sparse},
    {"model.layers.*.mlp.shared_expert.up_proj.bias", {decoder_dims::shared_width}, given(decoder_dims::shared_bias), layer_kind::sparse},
    {"model.layers.*.mlp.shared_expert.down_proj.bias", {decoder_dims::hidden}, given(decoder_dims::shared_bias), layer_kind::sparse},
};

/// The residual stream, the two regions of a layer, the head's input.
inline constexpr activation_point decoder_points[] = {
    {"model.layers.*", 3, one_for_all_layers{}},
    {"model.layers.*.self_attn", 3},
    {"model.layers.*.mlp", 3, layer_kind::sparse},
    {"model.layers.*.mlp", 3, layer_kind::dense},
    {"lm_head", 3},
};

}  // namespace plait::inline v0_1
