#pragma once
// Every parameter of a model as it is in memory, by name and global shape: what config.json asks for.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "plait/io/model_config.hpp"
#include "plait/io/names.hpp"

namespace plait::inline v0_1::io {

struct named_shape {
  std::string name;
  std::vector<std::int64_t> shape;
  bool trained = true;  ///< else it has no moments, and keeps float32 in a narrower model
};

namespace detail {

/// The parameters of multi-head latent attention (transformers models/deepseek_v2).
inline void add_latent_attention(const model_config& c, const std::string& layer, std::vector<named_shape>& all) {
  const std::string at = layer + "self_attn.";
  const auto add = [&](const char* name, std::vector<std::int64_t> shape) { all.push_back({at + name, std::move(shape)}); };
  const std::int64_t q = c.heads * c.head_dim, latent = c.latent_rank + c.rotated();
  if (c.query_rank > 0) {
    add("q_a_proj.weight", {c.query_rank, c.hidden});
    if (c.attention_bias) add("q_a_proj.bias", {c.query_rank});
    add("q_a_layernorm.weight", {c.query_rank});
    add("q_b_proj.weight", {q, c.query_rank});
  } else {
    add("q_proj.weight", {q, c.hidden});
  }
  add("kv_a_proj_with_mqa.weight", {latent, c.hidden});
  if (c.attention_bias) add("kv_a_proj_with_mqa.bias", {latent});
  add("kv_a_layernorm.weight", {c.latent_rank});
  add("kv_b_proj.weight", {c.heads * c.expanded_head(), c.latent_rank});
  add("o_proj.weight", {c.hidden, c.heads * c.value_head});
  if (c.attention_bias) add("o_proj.bias", {c.hidden});
}

}  // namespace detail

/// Every parameter of a model by its name in memory, with its global shape; a tied head is not listed.
inline std::vector<named_shape> memory_tensors(const model_config& c) {
  std::vector<named_shape> all;
  const std::int64_t q = c.heads * c.head_dim;
  const std::int64_t kv = c.kv_heads * c.head_dim;
  all.push_back({"model.embed_tokens.weight", {c.vocabulary, c.hidden}});
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const std::string at = detail::layer_prefix(i);
    const auto add_norm = [&](const std::string& name) {
      all.push_back({name + ".weight", {c.hidden}});
      if (c.layer_norm) all.push_back({name + ".bias", {c.hidden}});
    };
    add_norm(at + "input_layernorm");
    if (c.latent_rank > 0) detail::add_latent_attention(c, at, all);
    if (c.latent_rank == 0) {
      all.push_back({at + "self_attn.q_proj.weight", {q, c.hidden}});
      all.push_back({at + "self_attn.k_proj.weight", {kv, c.hidden}});
      all.push_back({at + "self_attn.v_proj.weight", {kv, c.hidden}});
      all.push_back({at + "self_attn.o_proj.weight", {c.hidden, q}});
    }
    if (c.attention_bias && c.latent_rank == 0) {
      all.push_back({at + "self_attn.q_proj.bias", {q}});
      all.push_back({at + "self_attn.k_proj.bias", {kv}});
      all.push_back({at + "self_attn.v_proj.bias", {kv}});
      all.push_back({at + "self_attn.o_proj.bias", {c.hidden}});
    }
    if (c.query_key_value_bias) {
      all.push_back({at + "self_attn.q_proj.bias", {q}});
      all.push_back({at + "self_attn.k_proj.bias", {kv}});
      all.push_back({at + "self_attn.v_proj.bias", {kv}});
    }
    if (c.query_key_norm) {
      all.push_back({at + "self_attn.q_norm.weight", {c.query_key_norm_whole ? q : c.head_dim}});
      all.push_back({at + "self_attn.k_norm.weight", {c.query_key_norm_whole ? kv : c.head_dim}});
    }
    if (c.sinks) all.push_back({at + "self_attn.sinks", {c.heads}});
    add_norm(at + "post_attention_layernorm");
    const auto add_mlp = [&](const std::string& mlp, std::int64_t width) {
      all.push_back({mlp + "gate_proj.weight", {width, c.hidden}});
      all.push_back({mlp + "up_proj.weight", {width, c.hidden}});
      all.push_back({mlp + "down_proj.weight", {c.hidden, width}});
      if (!c.mlp_bias) return;
      all.push_back({mlp + "gate_proj.bias", {width}});
      all.push_back({mlp + "up_proj.bias", {width}});
      all.push_back({mlp + "down_proj.bias", {c.hidden}});
    };
    if (c.sparse_layer[static_cast<std::size_t>(i)]) {
      all.push_back({at + "mlp.gate.weight", {c.experts, c.hidden}});
      if (c.choice_correction > 0)
        all.push_back({at + "mlp.gate.e_score_correction_bias",
                       c.choice_correction == 2 ? std::vector<std::int64_t>{1, c.experts} : std::vector<std::int64_t>{c.experts}, false});
      if (c.router_bias) all.push_back({at + "mlp.gate.bias", {c.experts}});
      const auto expert = [&](const char* name, std::int64_t out, std::int64_t in) {
        all.push_back({at + "mlp.experts." + name, {c.experts, c.transposed_experts ? in : out, c.transposed_experts ? out : in}});
        if (c.expert_bias) all.push_back({at + "mlp.experts." + name + "_bias", {c.experts, out}});
      };
      expert("gate_up_proj", 2 * c.expert_intermediate, c.hidden);
      expert("down_proj", c.hidden, c.expert_intermediate);
      if (c.shared_intermediate > 0) add_mlp(at + "mlp.shared_expert.", c.shared_intermediate);
      if (c.shared_expert_gate) all.push_back({at + "mlp.shared_expert_gate.weight", {1, c.hidden}});
    } else {
      add_mlp(at + "mlp.", c.dense_intermediate);
    }
  }
  all.push_back({"model.norm.weight", {c.hidden}});
  if (c.layer_norm) all.push_back({"model.norm.bias", {c.hidden}});
  if (!c.tied) all.push_back({"lm_head.weight", {c.vocabulary, c.hidden}});
  if (c.head_bias) all.push_back({"lm_head.bias", {c.vocabulary}});
  return all;
}

}  // namespace plait::inline v0_1::io
