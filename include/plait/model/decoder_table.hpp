#pragma once
// Symbols of decoder-only transformers, and the activation points that their forward pass asks the plan about.
#include "plait/plan/parameter_table.hpp"

namespace plait::inline v0_1 {

/// Extents that config.json supplies, as symbols for parameter tables.
struct decoder_dims {
  static constexpr int vocabulary = symbol(0), hidden = symbol(1), query_width = symbol(2), key_value_width = symbol(3),
                       head_dim = symbol(4), dense_width = symbol(5), expert_width = symbol(6), expert_width_2 = symbol(7),
                       experts = symbol(8), shared_width = symbol(9);
  static constexpr int count = 10;
};

/// The residual stream, the two regions of a layer, the head's input.
inline constexpr activation_point decoder_points[] = {
    {"model.layers.*", 3},
    {"model.layers.*.self_attn", 3},
    {"model.layers.*.mlp", 3, layer_kind::sparse},
    {"model.layers.*.mlp", 3, layer_kind::dense},
    {"lm_head", 3},
};

}  // namespace plait::inline v0_1
