#pragma once
// What a config.json says, as one typed struct: a light header for whoever only uses a configuration. config.hpp reads it.
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "plait/runtime/gated_options.hpp"
#include "plait/runtime/router_options.hpp"

namespace plait::inline v0_1::io {

/// How the rotary embedding's frequencies are stretched (arXiv 2309.00071 for yarn), by the names of transformers' rope_type.
struct rope_scaling {
  enum class kind : std::uint8_t { plain, linear, dynamic, llama3, yarn, longrope } type = kind::plain;
  double factor = 1;                                ///< of the positions
  double original_positions = 0;                    ///< how many the model was first trained on; dynamic: from where on theta grows
  double low_frequency = 1, high_frequency = 4;     ///< llama3: turns within those positions, between which it blends; may be equal (Llama 4)
  double beta_fast = 32, beta_slow = 1;             ///< yarn: the same,
  bool truncate = true;                             ///< rounded outwards to whole dims
  double attention_factor = 1;                      ///< yarn, longrope: of cosine and sine
  double beyond_factor = 0;                         ///< the same in rows that go beyond the original positions; 0: the same number
  double mscale_all_dim = 0;                        ///< DeepSeek's scale of the scores, see yarn_mscale
  double alpha = 0;                                 ///< dynamic, Hunyuan's: how far theta is stretched up to there; 0: is not
  std::vector<double> short_factors, long_factors;  ///< longrope: of each pair's period, in rows up to there and beyond
  friend bool operator==(const rope_scaling&, const rope_scaling&) = default;
};
/// How much wider scores spread in a context `factor` times as long.
inline double yarn_mscale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

struct model_config {
  std::string family;  ///< model_type, such as "mixtral"
  std::int64_t vocabulary = 0;
  std::int64_t hidden = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;      ///< of queries and keys
  std::int64_t rotary_width = 0;  ///< columns of a head that turn; 0: all
  bool rotary_pairs = false;      ///< neighbouring columns turn together, instead of the halves'
  std::int64_t query_rank = 0;    ///< latent attention: of the queries, 0: they come straight from the tokens;
  std::int64_t latent_rank = 0;   ///< of keys and values; 0: no latent attention
  std::int64_t value_head = 0;    ///< values of a head; 0: head_dim
  double latent_epsilon = 0;      ///< of the latents' norms
  std::int64_t dense_intermediate = 0;   ///< width of a dense layer's MLP; 0 where no layer is dense
  std::int64_t expert_intermediate = 0;  ///< width of one expert
  std::int64_t shared_intermediate = 0;  ///< width of the expert that every token visits; 0: none
  std::int64_t experts = 0;              ///< 0 where all layers are dense
  std::int64_t top_k = 0;                ///< experts that a token chooses, the most of any layer
  std::vector<std::int64_t> layer_top_k;  ///< of each layer; empty: top_k in all
  int choice_correction = 0;             ///< rank of the numbers added to the scores for the choice of experts alone; 0: none are
  router_options router{.normalise = true};  ///< how chosen experts are scored
  double rms_epsilon = 0;
  double rope_theta = 0;
  rope_scaling rope;
  double aux_coefficient = 0;
  bool output_router_logits = false;  ///< transformers adds coefficient x balancing loss if and only if this is set
  bool tied = false;
  bool attention_bias = false;         ///< biases of q, k, v and o
  bool query_key_value_bias = false;   ///< biases of q, k and v
  bool mlp_bias = false;               ///< biases of dense layers' and shared experts' projections
  bool head_bias = false;              ///< a bias of the logits
  bool layer_norm = false;             ///< the stream's norms are LayerNorm with bias instead of RMSNorm
  bool shared_expert_gate = false;     ///< the shared expert's output is weighted by sigmoid of a linear layer
  bool query_key_norm = false;         ///< RMSNorm of queries and keys,
  bool query_key_norm_whole = false;   ///< over all heads together instead of each head
  double head_limit = 0;               ///< queries, keys and values are clamped to [-limit, limit]; 0: are not
  double attention_scale = 0;      ///< of q k^T; 0: 1 / sqrt(head_dim)
  double embedding_multiplier = 1, residual_multiplier = 1, logits_divisor = 1;
  std::vector<bool> sparse_layer;  ///< layer i has experts
  std::vector<bool> local_layer;   ///< layer i attends locally; empty: none does
  std::int64_t window = 0;         ///< to the last so many positions, its own included,
  std::int64_t chunk = 0;          ///< to its own of the stretches of so many positions; 0: does not
  std::vector<bool> unrotated_layer;  ///< layer i has no rotary embedding; empty: all have one
  bool rotated_norm = false;          ///< rotated queries and keys are divided by their root mean square
  double temperature_scale = 0, temperature_floor = 1;  ///< unrotated layers: see temperatures (model/local_attention.hpp)
  bool sinks = false;                 ///< one logit a head more in the softmax
  bool router_bias = false, expert_bias = false;
  bool transposed_experts = false;    ///< experts' weights are [E, in, out]
  bool weighs_inputs = false;         ///< scores multiply what enters an expert instead of what it gives
  gated_options gate;                 ///< of the routed experts
  std::vector<std::int64_t> eos;   ///< empty: generation never stops by itself
  std::int64_t bos = -1;           ///< -1: none
  std::int64_t padding = -1;       ///< the token whose row of the embedding is not trained; -1: none
  std::string dtype = "float32";   ///< float32, bfloat16, float16 or float64
  std::int64_t max_positions = 0;
  std::string raw_text;  ///< config.json as it was read

  std::int64_t rotated() const { return rotary_width > 0 ? rotary_width : head_dim; }
  /// Latent attention: columns of a head that do not turn, and those with the values beside them.
  std::int64_t unturned() const { return head_dim - rotated(); }
  std::int64_t expanded_head() const { return unturned() + value_head; }
  /// What the balancing loss is multiplied by in the loss: 0 where transformers does not add it.
  double aux_weight() const { return output_router_logits ? aux_coefficient : 0.0; }
  std::int64_t chosen(std::int64_t layer) const { return layer_top_k.empty() ? top_k : layer_top_k[static_cast<std::size_t>(layer)]; }
  bool local(std::int64_t layer) const { return !local_layer.empty() && local_layer[static_cast<std::size_t>(layer)]; }
  bool turns(std::int64_t layer) const { return unrotated_layer.empty() || !unrotated_layer[static_cast<std::size_t>(layer)]; }
  bool any_dense() const {
    for (const bool sparse : sparse_layer)
      if (!sparse) return true;
    return false;
  }
};

}  // namespace plait::inline v0_1::io
