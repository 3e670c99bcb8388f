#pragma once
// Gradients of attention: the probabilities are recomputed from the scores and their log-sum.
#include "plait/cpu/attention.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

/// Everything the gradient of one (batch, key head) needs; keys' and values' gradients are summed here in the statistic type.
template <class T>
struct attention_gradient_task {
  using S = statistic<T>;
  attention_shape s;
  view q, k, v, segment_start, out, lse, dout, dq;
  S scale;
  S* dkeys;
  S* dvalues;

  /// Turns scores into probabilities and dscores (= dout v^T) into the gradient of the unscaled scores.
  void rows(const key_ranges& range, index b, index h, index first, index count, S* scores, S* dscores) const {
    const index span = range.high - range.low;
    for (index i = 0; i < count; ++i) {
      S* p = scores + i * span;
      S* d = dscores + i * span;
      const index from = range.from[i] - range.low, to = range.to[i] - range.low;
      if (range.from[i] == range.to[i]) {
        for (index j = 0; j < span; ++j) p[j] = d[j] = 0;
        continue;
      }
      const index at = s.q_at(b, first + i, h);
      const S* o = row_as<S>(out.as<const T>() + at, s.width, slot::row1);
      const S* g = row_as<S>(dout.as<const T>() + at, s.width, slot::row2);
      const S delta = dot(o, g, s.width);
      const S log_sum = lse.as<const S>()[(b * s.heads + h) * s.queries + first + i];
      for (index j = 0; j < from; ++j) p[j] = d[j] = 0;
      for (index j = from; j < to; ++j) p[j] = exponential(p[j] * scale - log_sum);
      for (index j = from; j < to; ++j) d[j] = p[j] * (d[j] - delta) * scale;
      for (index j = to; j < span; ++j) p[j] = d[j] = 0;
    }
  }

  void block(index b, index h, index first) const {
    const dtype sums = statistic_of(q.type);
    const index hk = h / s.group(), count = s.queries - first < query_block ? s.queries - first : query_block;
    const key_ranges range(s, segment_start.as<const std::int32_t>(), b, first, count);
    const index span = range.high - range.low, q_step = s.heads * s.width, k_step = s.key_heads * s.width;
    S* scores = scratch<S>(slot::scores, count * span);
    S* dscores = scratch<S>(slot::score_gradients, count * span);
    const T* q_block = q.as<const T>() + s.q_at(b, first, h);
    const T* dout_block = dout.as<const T>() + s.q_at(b, first, h);
    const T* k_range = k.as<const T>() + s.k_at(b, range.low, hk);
    const T* v_range = v.as<const T>() + s.k_at(b, range.low, hk);
    attention_scores(s, q.as<const T>(), q.type, k.as<const T>(), b, h, first, count, range, scores);
    multiply_any(count, span, s.width, {dout_block, dout.type, q_step, 1}, {v_range, v.type, k_step, 1}, {dscores, sums, span}, false);
    rows(range, b, h, first, count, scores, dscores);
    multiply_any(span, s.width, count, {scores, sums, 1, span}, {dout_block, dout.type, 1, q_step},
                 {dvalues + range.low * s.width, sums, s.width}, true);
    multiply_any(span, s.width, count, {dscores, sums, 1, span}, {q_block, q.type, 1, q_step},
                 {dkeys + range.low * s.width, sums, s.width}, true);
    if (dq) {
      multiply_any(count, s.width, span, {dscores, sums, span, 1}, {k_range, k.type, 1, k_step},
                   {dq.as<T>() + s.q_at(b, first, h), dq.type, q_step}, false);
    }
  }

  void store(const S* from, const view& to, index b, index hk) const {
    if (!to) return;
    for (index j = 0; j < s.keys; ++j) convert_row(from + j * s.width, to.as<T>() + s.k_at(b, j, hk), s.width);
  }
};

inline void attention_gradient(const execution& ex, view q, view k, view v, view segment_start, double scale, view out, view lse,
                               view dout, view dq, view dk, view dv) {
  const attention_shape s(q, k);
  visit_float("attention_gradient", q.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index heads = s.key_heads > 0 ? s.key_heads : 0;
    parallel_for(s.batch * heads, s.work() < parallel_threshold ? 1 : ex.threads, [&](index task) {
      const index b = task / heads, hk = task % heads, size = s.keys * s.width;
      attention_gradient_task<T> one{s, q, k, v, segment_start, out, lse, dout, dq, static_cast<S>(scale),
                                     scratch<S>(slot::keys, size), scratch<S>(slot::values, size)};
      for (index i = 0; i < size; ++i) one.dkeys[i] = one.dvalues[i] = 0;
      for (index h = hk * s.group(); h < (hk + 1) * s.group(); ++h) {
        for (index first = 0; first < s.queries; first += query_block) one.block(b, h, first);
      }
      one.store(one.dkeys, dk, b, hk);
      one.store(one.dvalues, dv, b, hk);
    });
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
