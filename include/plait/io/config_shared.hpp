#pragma once
// The fields of config.json that families have in common: sizes, experts, groups of experts, which layers have experts.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plait/io/config_fields.hpp"
#include "plait/io/config_rope.hpp"
#include "plait/io/model_config.hpp"

namespace plait::inline v0_1::io {

inline constexpr std::int64_t max_config_layers = 10'000;
inline constexpr std::int64_t max_config_experts = 1 << 16;

namespace detail {

/// The defaults of a family's class. kv_heads 0: as many as heads; head_dim 0: hidden size over heads.
struct family_defaults {
  std::int64_t kv_heads = 0;
  double rms_epsilon = 0;
  double rope_theta = 0;
  std::int64_t max_positions = 0;
  std::int64_t bos = -1;
  std::int64_t head_dim = 0;
  double rotary_part = 0;  ///< what partial_rotary_factor is by default; 0: the class does not have it
  std::int64_t padding = -1;  ///< pad_token_id; -1: none
  bool positions_beside = true;  ///< original_max_position_embeddings outside of the rope parameters is heeded, and comes first
};

/// The token whose embedding is not trained, -1 if there is none. Below zero it counts from the vocabulary's end, as in torch.nn.Embedding.
inline std::int64_t read_padding(const fields& f, std::int64_t vocabulary, std::int64_t fallback) {
  const json_value* value = f.object().find("pad_token_id");
  if (value && value->is_null()) return -1;
  const std::int64_t padding = f.whole_or_negative("pad_token_id", fallback);
  const std::int64_t row = padding < 0 && value ? padding + vocabulary : padding;
  if (value && (row < 0 || row >= vocabulary))
    f.fail("pad_token_id", "is " + std::to_string(padding) + ", outside of the vocabulary of " + std::to_string(vocabulary) + "; set it to null if there is no padding");
  return row < vocabulary ? row : -1;
}

/// The fields that all supported families share.
inline void read_shared(const fields& f, const family_defaults& defaults, model_config& c) {
  if (f.find("quantization_config"))
    f.fail("quantization_config", "is set; quantised models are not supported, use the original weights");
  if (f.find("compression_config"))
    f.fail("compression_config", "is set; compressed models are not supported, use the original weights");
  if (const json_value* layers = f.find("per_layer_config"); layers && !layers->items.empty())
    f.fail("per_layer_config", "gives layers fields of their own; only one set for all layers is supported");
  c.vocabulary = f.whole("vocab_size");
  c.hidden = f.whole("hidden_size");
  c.layers = f.whole("num_hidden_layers");
  if (c.layers > max_config_layers)
    f.fail("num_hidden_layers",
           "is " + std::to_string(c.layers) + "; at most " + std::to_string(max_config_layers) + " is possible");
  c.heads = f.whole("num_attention_heads");
  const json_value* kv = f.object().find("num_key_value_heads");
  c.kv_heads = kv && kv->is_null() ? c.heads : f.whole("num_key_value_heads", defaults.kv_heads > 0 ? defaults.kv_heads : c.heads);
  if (c.heads % c.kv_heads != 0)
    f.fail("num_attention_heads",
           "is " + std::to_string(c.heads) + ", no multiple of num_key_value_heads (" + std::to_string(c.kv_heads) + ")");
  if (f.find("head_dim")) {
    c.head_dim = f.whole("head_dim");
  } else if (defaults.head_dim > 0 && f.object().find("head_dim") == nullptr) {
    c.head_dim = defaults.head_dim;
  } else {
    if (c.hidden % c.heads != 0)
      f.fail("hidden_size", "is " + std::to_string(c.hidden) + ", no multiple of num_attention_heads (" +
                                std::to_string(c.heads) + "); add head_dim");
    c.head_dim = c.hidden / c.heads;
  }
  if (c.head_dim % 2 != 0) f.fail("head_dim", "is " + std::to_string(c.head_dim) + "; RoPE needs an even one");
  if (c.head_dim * c.heads > std::int64_t{1} << 31) f.fail("head_dim", "times num_attention_heads is above 2^31");
  c.rms_epsilon = f.number("rms_norm_eps", defaults.rms_epsilon);
  if (c.rms_epsilon <= 0 || c.rms_epsilon >= 1) f.fail("rms_norm_eps", "is not between 0 and 1; 1e-6 is usual");
  c.tied = f.truth("tie_word_embeddings", false);
  c.max_positions = f.whole("max_position_embeddings", defaults.max_positions);
  c.rope_theta = rope_theta(f, defaults.rope_theta);
  if (defaults.rotary_part > 0) c.rotary_width = read_rotary_width(f, c.head_dim, defaults.rotary_part);
  c.rope = read_rope(f, c.max_positions, c.rotated(), {.partial = defaults.rotary_part > 0, .positions_beside = defaults.positions_beside});
  c.eos = f.numbers("eos_token_id");
  const json_value* bos = f.object().find("bos_token_id");
  c.bos = !bos ? defaults.bos : bos->is_null() ? -1 : f.whole("bos_token_id", -1, 0);
  c.padding = read_padding(f, c.vocabulary, defaults.padding);
  if (const std::string act = f.text("hidden_act", "silu"); act != "silu")
    f.fail("hidden_act", "is " + in_quotes(act, 40) + "; only \"silu\" is supported");
  f.must_be_zero("attention_dropout", "is not 0; dropout is not supported, set it to 0");
  const std::string old_dtype = f.text("torch_dtype", "");
  const std::string new_dtype = f.text("dtype", "");
  c.dtype = !new_dtype.empty() ? new_dtype : !old_dtype.empty() ? old_dtype : "float32";
  if (c.dtype.starts_with("torch.")) c.dtype.erase(0, 6);
  bool known = false;
  for (const std::string_view type : {"float32", "bfloat16", "float16", "float64"}) known = known || c.dtype == type;
  if (!known)
    f.fail(!new_dtype.empty() ? "dtype" : "torch_dtype",
           "is " + in_quotes(c.dtype, 40) + "; float32, bfloat16, float16 and float64 are supported");
}

/// The defaults of a family's class with experts, and how it calls their number and that of a token's.
struct expert_defaults {
  std::int64_t experts, chosen;
  std::string_view chosen_name = "num_experts_per_tok", experts_name = "";  ///< empty: num_experts or num_local_experts
  double aux_coefficient = 0.001;
};

/// The fields of families with experts.
inline void read_experts(const fields& f, model_config& c, const expert_defaults& defaults) {
  std::string_view experts = defaults.experts_name;
  const std::string_view top_k = defaults.chosen_name;
  c.experts = experts.empty() ? f.either("num_experts", "num_local_experts", defaults.experts) : f.whole(experts, defaults.experts);
  if (experts.empty()) experts = f.find("num_experts") ? "num_experts" : "num_local_experts";
  if (c.experts > max_config_experts)
    f.fail(experts,
           "is " + std::to_string(c.experts) + "; at most " + std::to_string(max_config_experts) + " is possible");
  c.layer_top_k = f.by_layer(top_k, c.layers);
  c.top_k = c.layer_top_k.empty() ? f.whole(top_k, defaults.chosen) : *std::max_element(c.layer_top_k.begin(), c.layer_top_k.end());
  if (c.top_k > c.experts)
    f.fail(top_k,
           "is " + std::to_string(c.top_k) + ", but there are only " + std::to_string(c.experts) + " experts");
  c.aux_coefficient = f.number("router_aux_loss_coef", defaults.aux_coefficient);
  if (c.aux_coefficient < 0) f.fail("router_aux_loss_coef", "is negative; 0 turns the balancing loss off");
  c.output_router_logits = f.truth("output_router_logits", false);
}

inline void read_dense_layers(const fields& f, model_config& c) {
  c.dense_intermediate = f.whole("intermediate_size");
  c.sparse_layer.assign(static_cast<std::size_t>(c.layers), false);
}

/// Experts in groups, of which a token's choice is limited to some.
inline void read_expert_groups(const fields& f, model_config& c, std::int64_t groups, std::int64_t kept) {
  groups = f.whole("n_group", groups), kept = f.whole("topk_group", kept);
  if (c.experts % groups != 0) f.fail("n_group", "is " + std::to_string(groups) + ", which does not divide n_routed_experts");
  if (kept > groups) f.fail("topk_group", "is " + std::to_string(kept) + ", but there are only " + std::to_string(groups) + " groups");
  if (c.top_k > c.experts / groups * kept) f.fail("num_experts_per_tok", "is more than the experts of topk_group groups");
  c.router.groups = static_cast<std::int32_t>(groups), c.router.kept_groups = static_cast<std::int32_t>(kept);
}

/// Which layers have experts, as Qwen's classes say it.
inline void read_sparse_layers(const fields& f, model_config& c) {
  if (f.find("mlp_layer_types")) f.fail("mlp_layer_types", "is not supported; use mlp_only_layers and decoder_sparse_step");
  const std::int64_t step = f.whole("decoder_sparse_step", 1);
  std::vector<bool> dense(static_cast<std::size_t>(c.layers), false);
  if (const json_value* only = f.find("mlp_only_layers"); only && only->type != json_value::kind::array)
    f.wrong("mlp_only_layers", *only, "a list of layer numbers");
  for (const std::int64_t layer : f.numbers("mlp_only_layers"))
    if (layer < c.layers) dense[static_cast<std::size_t>(layer)] = true;
  for (std::int64_t i = 0; i < c.layers; ++i)
    c.sparse_layer.push_back(!dense[static_cast<std::size_t>(i)] && (i + 1) % step == 0);
  c.dense_intermediate = c.any_dense() ? f.whole("intermediate_size") : f.whole("intermediate_size", 0);
}

/// A factor that is 1 where the field is missing.
inline double multiplier(const fields& f, std::string_view name) {
  const double value = f.number(name, 1.0);
  if (value == 0) f.fail(name, "is 0; it multiplies or divides what the model computes, 1 changes nothing");
  return value;
}

}  // namespace detail
}  // namespace plait::inline v0_1::io
