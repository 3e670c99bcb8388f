#pragma once
// What each family's config.json says beyond the shared fields, with the defaults of its class in transformers, and the table of families.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "plait/io/config_attention.hpp"
#include "plait/io/config_shared.hpp"

namespace plait::inline v0_1::io::detail {

inline void read_llama(const fields& f, model_config& c) {
  read_shared(f, {0, 1e-6, 1e4, 2048, 1}, c);
  read_dense_layers(f, c);
  c.attention_bias = f.truth("attention_bias", false);
  c.mlp_bias = f.truth("mlp_bias", false);
}

inline void read_qwen3(const fields& f, model_config& c) {
  read_shared(f, {32, 1e-6, 1e4, 32768, -1, 128}, c);
  read_dense_layers(f, c);
  c.query_key_norm = true;
  c.attention_bias = f.truth("attention_bias", false);
  const std::int64_t first = f.whole("max_window_layers", 28, 0);
  read_sliding_layers(f, c, [&](std::int64_t l) { return l >= first; });
}

inline void read_mixtral(const fields& f, model_config& c) {
  read_shared(f, {8, 1e-5, 1e6, 4096 * 32, 1}, c);
  read_experts(f, c, {8, 2});
  c.expert_intermediate = f.whole("intermediate_size");
  c.router.normalise = true;  // the class always renormalises and has no field for it
  read_window_of_all(f, c);
  f.must_be_zero("router_jitter_noise", "is not 0; jitter in the router is not supported, set it to 0");
  c.sparse_layer.assign(static_cast<std::size_t>(c.layers), true);
}

inline void read_qwen3_moe(const fields& f, model_config& c) {
  read_shared(f, {4, 1e-6, 1e4, 32768, -1}, c);
  read_experts(f, c, {128, 8});
  c.expert_intermediate = f.whole("moe_intermediate_size");
  c.router.normalise = f.truth("norm_topk_prob", false);
  c.query_key_norm = true;
  c.attention_bias = f.truth("attention_bias", false);
  if (f.truth("use_sliding_window", false) && f.find("layer_types"))
    f.fail("layer_types", "is not supported beside use_sliding_window, which is for all layers in this family");
  read_sliding_layers(f, c, [](std::int64_t) { return true; });
  read_sparse_layers(f, c);
}

inline void read_granitemoe(const fields& f, model_config& c) {
  read_shared(f, {0, 1e-6, 1e4, 2048, 1}, c);
  read_experts(f, c, {8, 2});
  c.expert_intermediate = f.whole("intermediate_size");
  c.router.normalise = true;  // softmax over the chosen logits is the renormalised softmax over all
  c.attention_bias = f.truth("attention_bias", false);
  c.attention_scale = multiplier(f, "attention_multiplier");
  c.embedding_multiplier = multiplier(f, "embedding_multiplier");
  c.residual_multiplier = multiplier(f, "residual_multiplier");
  c.logits_divisor = multiplier(f, "logits_scaling");
  c.sparse_layer.assign(static_cast<std::size_t>(c.layers), true);
}

inline void read_qwen2_moe(const fields& f, model_config& c) {
  read_shared(f, {16, 1e-6, 1e4, 32768, -1}, c);
  read_experts(f, c, {60, 4});
  c.expert_intermediate = f.whole("moe_intermediate_size");
  c.shared_intermediate = f.whole("shared_expert_intermediate_size");
  c.shared_expert_gate = true;
  c.router.normalise = f.truth("norm_topk_prob", false);
  c.query_key_value_bias = f.truth("qkv_bias", true);
  const std::int64_t end = f.whole("max_window_layers", 28, 0);
  read_sliding_layers(f, c, [&](std::int64_t l) { return l % 2 == 0 && l < end; });
  read_sparse_layers(f, c);
}

inline void read_hunyuan_v1_moe(const fields& f, model_config& c) {
  read_shared(f, {.rms_epsilon = 1e-5, .rope_theta = 1e4, .max_positions = 2048, .bos = 1, .padding = 0}, c);
  read_experts(f, c, {1, 1, "moe_topk"});
  c.output_router_logits = false;  // the class adds no balancing loss
  c.expert_intermediate = c.shared_intermediate = f.whole("intermediate_size");
  c.router.normalise = true;  // the class always renormalises
  c.query_key_norm = true;
  c.attention_bias = f.truth("attention_bias", false);
  if (c.rope.type == rope_scaling::kind::dynamic) c.rope.alpha = rope_number(f, "alpha", 0);
  c.sparse_layer.assign(static_cast<std::size_t>(c.layers), true);
}

inline void read_olmoe(const fields& f, model_config& c) {
  read_shared(f, {.rms_epsilon = 1e-5, .rope_theta = 1e4, .max_positions = 4096, .bos = -1, .padding = 1}, c);
  read_experts(f, c, {.experts = 64, .chosen = 8, .aux_coefficient = 0.01});
  c.expert_intermediate = f.whole("intermediate_size");
  c.router.normalise = f.truth("norm_topk_prob", false);
  c.query_key_norm = c.query_key_norm_whole = true;
  c.attention_bias = f.truth("attention_bias", false);
  c.head_limit = f.number("clip_qkv", 0);
  if (f.find("clip_qkv") && c.head_limit <= 0) f.fail("clip_qkv", "is not above 0; set it to null if q, k and v are not clipped");
  c.sparse_layer.assign(static_cast<std::size_t>(c.layers), true);
}

/// What both generations of DeepSeek's class share.
struct deepseek_defaults {
  family_defaults shared;
  std::int64_t dense_width, expert_width, experts, shared_experts, top_k, first_dense;
  double routed_factor;
};
inline void read_deepseek(const fields& f, const deepseek_defaults& defaults, model_config& c) {
  family_defaults shared = defaults.shared;
  c.rotary_width = shared.head_dim = f.whole("qk_rope_head_dim", 64, 2);
  read_shared(f, shared, c);
  if (c.rotary_width % 2 != 0) f.fail("qk_rope_head_dim", "is " + std::to_string(c.rotary_width) + "; RoPE needs an even one");
  if (c.kv_heads != c.heads)
    f.fail("num_key_value_heads", "is not num_attention_heads; with latent attention every query head has its own key");
  const json_value* rank = f.object().find("q_lora_rank");
  c.query_rank = rank && rank->is_null() ? 0 : f.whole("q_lora_rank", 1536);
  c.latent_rank = f.whole("kv_lora_rank", 512);
  c.head_dim = f.whole("qk_nope_head_dim", 128) + c.rotary_width;
  c.value_head = f.whole("v_head_dim", 128);
  for (const std::int64_t width : {c.head_dim, c.expanded_head()})
    if (width * c.heads > std::int64_t{1} << 31) f.fail("qk_nope_head_dim", "makes all heads together wider than 2^31");
  c.latent_epsilon = 1e-6;  // the class gives these norms no rms_norm_eps
  c.rotary_pairs = true;
  const double stretch = c.rope.mscale_all_dim != 0 ? yarn_mscale(c.rope.factor, c.rope.mscale_all_dim) : 1.0;
  c.attention_scale = stretch * stretch / std::sqrt(static_cast<double>(c.head_dim));
  c.attention_bias = f.truth("attention_bias", false);

  c.experts = f.whole("n_routed_experts", defaults.experts);
  if (c.experts > max_config_experts) f.fail("n_routed_experts", "is above " + std::to_string(max_config_experts));
  c.top_k = f.whole("num_experts_per_tok", defaults.top_k);
  if (c.top_k > c.experts) f.fail("num_experts_per_tok", "is " + std::to_string(c.top_k) + ", but there are only " + std::to_string(c.experts) + " experts");
  c.expert_intermediate = f.whole("moe_intermediate_size", defaults.expert_width);
  c.shared_intermediate = c.expert_intermediate * f.whole("n_shared_experts", defaults.shared_experts, 0);
  c.router.factor = f.number("routed_scaling_factor", defaults.routed_factor);
  if (f.whole("moe_layer_freq", 1) != 1) f.fail("moe_layer_freq", "is not 1; every layer after the first dense ones has experts");
  const std::int64_t dense = f.whole("first_k_dense_replace", defaults.first_dense, 0);
  for (std::int64_t i = 0; i < c.layers; ++i) c.sparse_layer.push_back(i >= dense);
  c.dense_intermediate = f.whole("intermediate_size", defaults.dense_width);
}

inline void read_deepseek_v2(const fields& f, model_config& c) {
  read_deepseek(f, {{0, 1e-6, 1e4, 2048, 1}, 11008, 1407, 64, 2, fields::required, 0, 1.0}, c);
  c.mlp_bias = f.truth("mlp_bias", false);
  if (c.mlp_bias && c.shared_intermediate == 0) f.fail("n_shared_experts", "is 0 beside mlp_bias: the class then adds the bias of a shared expert of no width; set mlp_bias to false");
  if (const std::string scoring = f.text("scoring_func", "softmax"); scoring != "softmax")
    f.fail("scoring_func", "is " + in_quotes(scoring, 40) + "; this family is supported with \"softmax\" only");
  const std::string method = f.text("topk_method", "greedy");
  if (method != "greedy" && method != "group_limited_greedy")
    f.fail("topk_method", "is " + in_quotes(method, 40) + "; \"greedy\" and \"group_limited_greedy\" are supported");
  if (method == "group_limited_greedy") read_expert_groups(f, c, fields::required, fields::required);
  c.router.normalise = false;  // the class has norm_topk_prob and does not heed it
}

inline void read_deepseek_v3(const fields& f, model_config& c) {
  read_deepseek(f, {{0, 1e-6, 1e4, 4096, 0}, 18432, 2048, 256, 1, 8, 3, 2.5}, c);
  c.rotary_pairs = f.given_truth("rope_interleave", true);
  if (const std::string scoring = f.text("scoring_func", "sigmoid"); scoring != "sigmoid")
    f.fail("scoring_func", "is " + in_quotes(scoring, 40) + "; this family is supported with \"sigmoid\" only");
  if (const std::string method = f.text("topk_method", "noaux_tc"); method != "noaux_tc")
    f.fail("topk_method", "is " + in_quotes(method, 40) + "; this family is supported with \"noaux_tc\" only");
  read_expert_groups(f, c, 8, 4);
  if (c.experts / c.router.groups < 2) f.fail("n_group", "leaves one expert a group; a group is worth its two best");
  c.router.worth = group_worth::two_best;
  c.router.scoring = router_scoring::sigmoid;
  c.router.normalise = f.given_truth("norm_topk_prob", true);
  c.router.epsilon = 1e-20;
  c.choice_correction = 1;
}

inline void read_gpt_oss(const fields& f, model_config& c) {
  if (f.find("quantization_config"))
    f.fail("quantization_config", "is set (gpt-oss is published in MXFP4); load it in transformers with Mxfp4Config(dequantize=True) and save "
                                  "that in bfloat16");
  read_shared(f, {8, 1e-5, 150000, 131072, -1, 64}, c);
  if (!f.find("rope_parameters") && !f.find("rope_scaling")) {
    c.rope.type = rope_scaling::kind::yarn;
    c.rope.factor = 32;
    c.rope.original_positions = 4096;
    c.rope.truncate = false;
    c.rope.attention_factor = yarn_mscale(32, 1);
  }
  read_experts(f, c, {128, 4});
  c.expert_intermediate = f.whole("intermediate_size");
  c.router.normalise = true;  // softmax over the chosen logits is the renormalised softmax over all
  c.gate = {.interleaved = true, .alpha = 1.702, .offset = 1, .limit = 7};
  c.attention_bias = f.truth("attention_bias", true);
  c.sinks = c.router_bias = c.expert_bias = c.transposed_experts = true;
  std::vector<bool> in_turn;
  for (std::int64_t l = 0; l < c.layers; ++l) in_turn.push_back(l % 2 == 0);
  c.local_layer = read_local_layers(f, c, "sliding_attention", in_turn);
  c.window = read_reach(f, "sliding_window", c.local_layer, 128);
  c.sparse_layer.assign(static_cast<std::size_t>(c.layers), true);
}

inline void read_llama4_text(const fields& f, model_config& c) {
  read_shared(f, {8, 1e-5, 500000, 131072, 1, 128}, c);
  read_experts(f, c, {16, 1});
  c.output_router_logits = false;  // the class adds no balancing loss
  c.expert_intermediate = c.shared_intermediate = f.whole("intermediate_size");
  c.router = {.scoring = router_scoring::sigmoid};
  c.weighs_inputs = c.transposed_experts = c.rotary_pairs = true;
  c.attention_bias = f.truth("attention_bias", false);
  c.rotated_norm = f.truth("use_qk_norm", true);

  const std::int64_t interval = f.whole("no_rope_layer_interval", 4);
  const std::vector<std::int64_t> rotates = f.numbers("no_rope_layers");  // 1: the layer has a rotary embedding
  if (!rotates.empty() && static_cast<std::int64_t>(rotates.size()) < c.layers)
    f.fail("no_rope_layers", "has " + std::to_string(rotates.size()) + " entries for " + std::to_string(c.layers) + " layers");
  std::vector<bool> chunked;
  for (std::int64_t l = 0; l < c.layers; ++l) {
    chunked.push_back(rotates.empty() ? (l + 1) % interval != 0 : rotates[static_cast<std::size_t>(l)] != 0);
    c.unrotated_layer.push_back(!chunked.back());
  }
  c.local_layer = read_local_layers(f, c, "chunked_attention", chunked);
  c.chunk = read_reach(f, "attention_chunk_size", c.local_layer, 8192);
  const json_value* tuned = f.find("attn_temperature_tuning");
  if (tuned != nullptr && tuned->is_number() ? tuned->number != 0 : f.truth("attn_temperature_tuning", true)) {
    c.temperature_scale = f.number("attn_scale", 0.1);
    c.temperature_floor = static_cast<double>(f.whole("floor_scale", 8192));
  }

  const std::int64_t step = f.whole("interleave_moe_layer_step", 1);
  c.sparse_layer.assign(static_cast<std::size_t>(c.layers), false);
  const json_value* named = f.find("moe_layers");
  if (named && named->type != json_value::kind::array) f.wrong("moe_layers", *named, "a list of layer numbers");
  for (const std::int64_t layer : f.numbers("moe_layers"))
    if (layer < c.layers) c.sparse_layer[static_cast<std::size_t>(layer)] = true;
  for (std::int64_t l = step - 1; l < c.layers && !named; l += step) c.sparse_layer[static_cast<std::size_t>(l)] = true;
  c.dense_intermediate = f.whole("intermediate_size_mlp", 16384);
}

inline void read_glm4_moe(const fields& f, model_config& c) {
  read_shared(f, {8, 1e-5, 1e4, 131072, -1, 0, 0.5}, c);
  read_experts(f, c, {128, 8, "num_experts_per_tok", "n_routed_experts", 0});
  c.output_router_logits = false;  // the class adds no balancing loss
  c.expert_intermediate = f.whole("moe_intermediate_size", 1408);
  c.shared_intermediate = c.expert_intermediate * f.whole("n_shared_experts", 1, 0);
  c.query_key_value_bias = f.truth("attention_bias", false);  // o_proj never has one
  c.query_key_norm = f.truth("use_qk_norm", false);
  c.choice_correction = 1;
  read_expert_groups(f, c, 1, 1);
  if (c.experts / c.router.groups < 2) f.fail("n_group", "leaves one expert a group; a group is worth its two best");
  c.router.worth = group_worth::two_best;
  c.router.scoring = router_scoring::sigmoid;
  c.router.normalise = f.truth("norm_topk_prob", true);
  c.router.epsilon = 1e-20;
  c.router.factor = f.number("routed_scaling_factor", 1.0);
  const std::int64_t dense = f.whole("first_k_dense_replace", 1, 0);
  for (std::int64_t i = 0; i < c.layers; ++i) c.sparse_layer.push_back(i >= dense);
  c.dense_intermediate = f.whole("intermediate_size", 10944);
}

inline void read_minimax_m2(const fields& f, model_config& c) {
  read_shared(f, {8, 1e-6, 5e6, 196608, 200034, 128, 1.0}, c);
  if (f.find("rotary_dim") && f.whole("rotary_dim") != c.rotary_width)
    f.fail("rotary_dim", "is not head_dim x partial_rotary_factor, by which the class goes; set rope_parameters.partial_rotary_factor");
  read_experts(f, c, {256, 8});
  c.expert_intermediate = f.whole("intermediate_size");
  c.query_key_norm = c.query_key_norm_whole = true;
  c.choice_correction = 1;
  c.router = {.scoring = router_scoring::sigmoid, .normalise = true};
  f.must_be_zero("router_jitter_noise", "is not 0; jitter in the router is not supported, set it to 0");
  c.sparse_layer.assign(static_cast<std::size_t>(c.layers), true);
}

inline void read_phimoe(const fields& f, model_config& c) {
  read_shared(f, {.kv_heads = 8, .rms_epsilon = 1e-5, .rope_theta = 1e6, .max_positions = 4096 * 32, .bos = 1, .positions_beside = false}, c);
  read_experts(f, c, {16, 2});
  if (c.top_k != 2) f.fail("num_experts_per_tok", "is " + std::to_string(c.top_k) + "; the router of this family always chooses 2");
  c.expert_intermediate = f.whole("intermediate_size");
  // As in evaluation: the class's training draws its experts at random and adds jitter to the router's input.
  const double jitter = f.number("router_jitter_noise", 0.01);
  if (jitter < 0) f.fail("router_jitter_noise", "is negative");
  c.router = {.scoring = router_scoring::sparsemixer, .nearness = 2 * jitter};
  c.layer_norm = true;
  c.attention_bias = f.truth("attention_bias", false);
  c.head_bias = f.truth("lm_head_bias", false);
  read_window_of_all(f, c);
  if (c.rope.type == rope_scaling::kind::linear || c.rope.type == rope_scaling::kind::dynamic)
    f.fail("rope_scaling", "has a rope_type that this family's class does not compute; \"default\", \"llama3\", \"yarn\" and \"longrope\" are supported");
  if (c.rope.type != rope_scaling::kind::plain) {  // the class takes these in the place of the type's own factor, and short_factor at any length
    c.rope.attention_factor = rope_number(f, "short_mscale");
    c.rope.beyond_factor = rope_number(f, "long_mscale");
    c.rope.long_factors = c.rope.short_factors;
  }
  c.sparse_layer.assign(static_cast<std::size_t>(c.layers), true);
}

inline void read_ernie4_5_moe(const fields& f, model_config& c) {
  read_shared(f, {.kv_heads = 4, .rms_epsilon = 1e-5, .rope_theta = 5e5, .max_positions = 131072, .bos = 1, .padding = 0}, c);
  c.tied = f.truth("tie_word_embeddings", true);
  read_experts(f, c, {64, 6, "moe_k", "moe_num_experts"});
  c.expert_intermediate = f.whole("moe_intermediate_size", 1536);
  c.shared_intermediate = c.expert_intermediate * f.whole("moe_num_shared_experts", 2, 0);
  c.attention_bias = c.mlp_bias = c.head_bias = f.truth("use_bias", false);
  c.rotary_pairs = true;
  c.choice_correction = 2;
  c.router.normalise = true;
  c.router.smallest_sum = f.number("moe_norm_min", 1e-12);
  const std::int64_t first = f.whole("moe_layer_start_index", 1, 0), step = f.whole("moe_layer_interval", 1);
  const std::int64_t last = f.whole_or_negative("moe_layer_end_index", -1);
  for (std::int64_t i = 0; i < c.layers; ++i) c.sparse_layer.push_back((i + 1) % step == 0 && i >= first && (last == -1 || i <= last));
  c.dense_intermediate = f.whole("intermediate_size", 12288);
}

/// A supported family: add a row, and the names in names.hpp.
struct config_family {
  const char* model_type;
  void (*read)(const fields&, model_config&);
};
inline constexpr config_family config_families[] = {
    {"mixtral", read_mixtral}, {"qwen3_moe", read_qwen3_moe}, {"llama", read_llama}, {"qwen3", read_qwen3},
    {"granitemoe", read_granitemoe}, {"qwen2_moe", read_qwen2_moe}, {"hunyuan_v1_moe", read_hunyuan_v1_moe}, {"olmoe", read_olmoe},
    {"deepseek_v2", read_deepseek_v2}, {"deepseek_v3", read_deepseek_v3},
    {"gpt_oss", read_gpt_oss}, {"llama4_text", read_llama4_text}, {"glm4_moe", read_glm4_moe}, {"minimax_m2", read_minimax_m2},
    {"phimoe", read_phimoe}, {"ernie4_5_moe", read_ernie4_5_moe}};

}  // namespace plait::inline v0_1::io::detail
