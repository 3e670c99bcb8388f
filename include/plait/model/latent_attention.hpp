#pragma once
// Multi-head latent attention (arXiv 2405.04434; transformers models/deepseek_v2): keys and values of all heads are expanded from one
// narrow latent of the token, beside which one rotary key serves all heads. Where heads are cut, every rank has the latent and expands
// its own heads; that the latent's gradients are then pending sums follows from the layouts.
#include "plait/io/model_config.hpp"
#include "plait/model/decoder_traits.hpp"
#include "plait/ops/attention.hpp"
#include "plait/ops/heads.hpp"

namespace plait::inline v0_1 {

template <class Q, class K, class V>
struct attention_heads {
  Q q;
  K k;
  V v;
};

/// Rows of the parameter table.
template <class Model>
struct latent_rows {
  static constexpr int q_proj = detail::find_row<Model>("model.layers.*.self_attn.q_proj.weight");
  static constexpr int q_a = detail::find_row<Model>("model.layers.*.self_attn.q_a_proj.weight");
  static constexpr int q_a_bias = detail::find_row<Model>("model.layers.*.self_attn.q_a_proj.bias");
  static constexpr int q_norm = detail::find_row<Model>("model.layers.*.self_attn.q_a_layernorm.weight");
  static constexpr int q_b = detail::find_row<Model>("model.layers.*.self_attn.q_b_proj.weight");
  static constexpr int kv_a = detail::find_row<Model>("model.layers.*.self_attn.kv_a_proj_with_mqa.weight");
  static constexpr int kv_a_bias = detail::find_row<Model>("model.layers.*.self_attn.kv_a_proj_with_mqa.bias");
  static constexpr int kv_norm = detail::find_row<Model>("model.layers.*.self_attn.kv_a_layernorm.weight");
  static constexpr int kv_b = detail::find_row<Model>("model.layers.*.self_attn.kv_b_proj.weight");
};

/// Queries and keys [B, S, heads, unturned + rotary], rotated, and values [B, S, heads, value_head], of the entered tokens h [B, S, hidden].
/// weights: at<Row>() is a layer's parameter with its style, projected<Row, BiasRow>(c, x) the product and its bias if the layer has one.
template <class Model, class H, class Weights, class Table>
auto latent_heads(context& c, const H& h, const Weights& weights, const io::model_config& m, const Table& cosine, const Table& sine) {
  using rows = latent_rows<Model>;
  const auto queries = [&] {
    using result = decltype(weights.template projected<rows::q_proj, -1>(c, h));
    if (m.query_rank == 0) return weights.template projected<rows::q_proj, -1>(c, h);
    const auto low = normalise(c, weights.template projected<rows::q_a, rows::q_a_bias>(c, h), weights.template at<rows::q_norm>(), m.latent_epsilon);
    return result(weights.template projected<rows::q_b, -1>(c, low));
  };
  const auto q = rope(c, split_heads(c, queries(), m.head_dim), cosine, sine, {m.unturned(), m.rotary_pairs});
  const auto latent = split_columns(c, weights.template projected<rows::kv_a, rows::kv_a_bias>(c, h), m.latent_rank);
  const auto normed = normalise(c, latent.left, weights.template at<rows::kv_norm>(), m.latent_epsilon);
  const auto expanded = split_heads(c, weights.template projected<rows::kv_b, -1>(c, normed), m.expanded_head());
  const auto parts = split_columns(c, expanded, m.unturned());
  const auto key = rope(c, as_one_head(c, latent.right), cosine, sine, {0, m.rotary_pairs});
  const auto k = join_columns(c, parts.left, repeat_heads<typename decltype(parts.left)::layout_type>(c, key, m.heads));
  using Q = std::decay_t<decltype(q)>;
  return attention_heads<Q, std::decay_t<decltype(k)>, std::decay_t<decltype(parts.right)>>{q, k, parts.right};
}

}  // namespace plait::inline v0_1
