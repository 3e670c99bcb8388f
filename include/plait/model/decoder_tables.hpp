#pragma once
// What attention asks of a batch, in every layer the same: rotary angles, the first position that each token attends to, and the
// temperature of queries in layers without a rotary embedding.
#include <optional>

#include "plait/model/decoder_cache.hpp"
#include "plait/model/local_attention.hpp"
#include "plait/model/rotary_angles.hpp"
#include "plait/ops/attention.hpp"
#include "plait/ops/constant.hpp"
#include "plait/ops/sequence.hpp"

namespace plait::inline v0_1 {

/// Layout: that of a batch's rows. Statistic: the type of angles and temperatures.
template <class Layout, class Statistic>
struct decoder_tables {
  using angles = tensor<Statistic, extents<dyn, dyn, dyn>, Layout>;   // [B, S, rotated / 2]
  using positions = tensor<std::int32_t, extents<dyn, dyn>, Layout>;  // [B, S]

  angles cosine, sine;
  positions segment_start, local_start;     // the latter of layers that attend locally
  std::optional<angles> temperature, zero;  // of layers without a rotary embedding: turned by nothing, scaled by these
  const io::model_config* config;
  const batch* input;
  decoder_cache* cache;

  /// Of the columns in `in`; with a cache they stand after those that are cached, and their first positions join the cache.
  decoder_tables(context& c, const batch& in, const io::model_config& m, decoder_cache* cached) : config(&m), input(&in), cache(cached) {
    const rotary_angles<Statistic> turned(in, m.rotated(), m.rope_theta, m.rope);
    const std::int64_t three[3] = {in.rows, in.columns, turned.half}, two[2] = {in.rows, in.columns};
    cosine = constant<Layout, Statistic, extents<dyn, dyn, dyn>>(c, turned.cosine.data(), three);
    sine = constant<Layout, Statistic, extents<dyn, dyn, dyn>>(c, turned.sine.data(), three);
    segment_start = constant<Layout, std::int32_t, extents<dyn, dyn>>(c, in.segment_start.data(), two);
    if (m.window > 0 || m.chunk > 0) {
      const std::vector<std::int32_t> starts = local_starts(in, cache != nullptr ? cache->length() : 0, m);
      local_start = constant<Layout, std::int32_t, extents<dyn, dyn>>(c, starts.data(), two);
      if (cache != nullptr) append(c, sequence_cache<positions>(cache->local_start), local_start);
    }
    if (m.temperature_scale != 0) {
      const std::vector<Statistic> factors = temperatures<Statistic>(in, m.head_dim, m), nothing(factors.size());
      const std::int64_t halves[3] = {in.rows, in.columns, m.head_dim / 2};
      temperature = constant<Layout, Statistic, extents<dyn, dyn, dyn>>(c, factors.data(), halves);
      zero = constant<Layout, Statistic, extents<dyn, dyn, dyn>>(c, nothing.data(), halves);
    }
    if (cache != nullptr) append(c, sequence_cache<positions>(cache->segment_start), segment_start);
  }

  /// Queries and keys [B, S, heads, d] of a layer under the rotary embedding; in one that has none, queries times their temperature.
  template <class Q, class K>
  void rotate(context& c, Q& q, K& k, int layer) const {
    if (!config->turns(layer)) {
      if (temperature) q = rope(c, q, *temperature, *zero);
      return;
    }
    const rotary_form form{.interleaved = config->rotary_pairs};
    q = rope(c, q, cosine, sine, form), k = rope(c, k, cosine, sine, form);
    if (config->rotated_norm) q = rms_norm(c, q, config->rms_epsilon), k = rms_norm(c, k, config->rms_epsilon);
  }

  /// Attention of a layer to this batch alone or, with a cache, to all positions cached and these.
  template <class Q, class K, class V, class... Sinks>
  auto attend(context& c, const Q& q, const K& k, const V& v, int layer, double scale, const Sinks&... sinks) const {
    const bool local = config->local(layer);
    if (cache == nullptr) return attention(c, q, k, v, local ? local_start : segment_start, scale, sinks...);
    const sequence_cache<K> keys(cache->keys[static_cast<std::size_t>(layer)]);
    const sequence_cache<V> values(cache->values[static_cast<std::size_t>(layer)]);
    append(c, keys, k);
    append(c, values, v);
    return attention(c, q, keys, values, sequence_cache<positions>(local ? cache->local_start : cache->segment_start), scale, sinks...);
  }
};

}  // namespace plait::inline v0_1
