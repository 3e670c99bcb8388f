#pragma once
// What a config.json says, as one typed struct: a light header for whoever only uses a configuration. config.hpp reads it.
#include <cstdint>
#include <string>
#include <vector>

namespace plait::inline v0_1::io {

struct model_config {
  std::string family;  ///< model_type: "mixtral" or "qwen3_moe"
  std::int64_t vocabulary = 0;
  std::int64_t hidden = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t dense_intermediate = 0;   ///< width of a dense layer's MLP; 0 where no layer is dense
  std::int64_t expert_intermediate = 0;  ///< width of one expert
  std::int64_t experts = 0;
  std::int64_t top_k = 0;
  bool normalise_top_k = true;
  double rms_epsilon = 0;
  double rope_theta = 0;
  double aux_coefficient = 0;
  bool output_router_logits = false;  ///< transformers adds coefficient x balancing loss if and only if this is set
  bool tied = false;
  bool attention_bias = false;
  bool query_key_norm = false;     ///< RMSNorm of each head's queries and keys
  std::vector<bool> sparse_layer;  ///< layer i has experts
  std::vector<std::int64_t> eos;   ///< empty: generation never stops by itself
  std::int64_t bos = -1;           ///< -1: none
  std::string dtype = "float32";   ///< float32, bfloat16, float16 or float64
  std::int64_t max_positions = 0;
  std::string raw_text;  ///< config.json as it was read

  /// What the balancing loss is multiplied by in the loss: 0 where transformers does not add it.
  double aux_weight() const { return output_router_logits ? aux_coefficient : 0.0; }
  bool any_dense() const {
    for (const bool sparse : sparse_layer)
      if (!sparse) return true;
    return false;
  }
};

}  // namespace plait::inline v0_1::io
