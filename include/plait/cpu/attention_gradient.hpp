#pragma once
// Gradients of attention: the probabilities are recomputed from the scores and their log-sum.
#include "plait/cpu/attention.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

/// Everything the gradient of one (batch, key head) needs; the gradients of keys and values are summed here.
template <class S>
struct attention_gradient_task {
  attention_shape s;
  view q, k, v, segment_start, out, lse, dout, dq, dk, dv;
  S scale;
  S* dkeys = nullptr;
  S* dvalues = nullptr;

  const S* row(const view& m, index at, slot which) const {
    if (m.type == statistic_of(m.type)) return m.as<const S>() + at;
    S* to = scratch<S>(which, s.width);
    convert_elements(element_at(m, at), m.type, to, statistic_of(m.type), s.width);
    return to;
  }

  /// Turns scores into probabilities and dscores (= dout v^T) into the gradient of the unscaled scores.
  void rows(const key_ranges& range, index b, index h, index first, index count, S* scores, S* dscores) const {
    const index span = range.high - range.low;
    for (index i = 0; i < count; ++i) {
      S* p = scores + i * span;
      S* d = dscores + i * span;
      const bool sees = range.from[i] < range.to[i];
      const index from = sees ? range.from[i] - range.low : span, to = sees ? range.to[i] - range.low : span;
      const index at = s.q_at(b, first + i, h);
      const S delta = dot(row(out, at, slot::row1), row(dout, at, slot::row2), s.width);
      const S log_sum = lse.as<const S>()[(b * s.heads + h) * s.queries + first + i];
      for (index j = 0; j < from; ++j) p[j] = d[j] = 0;
      for (index j = from; j < to; ++j) p[j] = exponential(p[j] * scale - log_sum);
      for (index j = from; j < to; ++j) d[j] = p[j] * (d[j] - delta) * scale;
      for (index j = to; j < span; ++j) p[j] = d[j] = 0;
    }
  }

  void block(index b, index h, index first) const {
    const index count = s.queries - first < query_block ? s.queries - first : query_block;
    const key_ranges range(s, segment_start.as<const std::int32_t>(), b, first, count);
    const index span = range.high - range.low, q_step = s.heads * s.width, k_step = s.key_heads * s.width;
    const index at_queries = s.q_at(b, first, h), at_keys = s.k_at(b, range.low, h / s.group()), low = range.low * s.width;
    S* scores = scratch<S>(slot::scores, count * span);
    S* dscores = scratch<S>(slot::score_gradients, count * span);
    const operand queries = rows_at(q, at_queries, q_step), keys = rows_at(k, at_keys, k_step);
    const operand values = rows_at(v, at_keys, k_step), douts = rows_at(dout, at_queries, q_step);
    multiply_any(count, span, s.width, queries, keys, sums_at(scores, span), false);
    multiply_any(count, span, s.width, douts, values, sums_at(dscores, span), false);
    rows(range, b, h, first, count, scores, dscores);
    const operand p = sums_of(scores, span), dp = sums_of(dscores, span);
    multiply_any(span, s.width, count, transposed(p), transposed(douts), sums_at(dvalues + low, s.width), true);
    multiply_any(span, s.width, count, transposed(dp), transposed(queries), sums_at(dkeys + low, s.width), true);
    if (dq) multiply_any(count, s.width, span, dp, transposed(keys), {element_at(dq, at_queries), dq.type, q_step}, false);
  }

  void store(const S* from, const view& to, index b, index hk) const {
    for (index j = 0; j < s.keys && to; ++j) {
      convert_elements(from + j * s.width, statistic_of(to.type), element_at(to, s.k_at(b, j, hk)), to.type, s.width);
    }
  }

  void run(index b, index hk) {
    const index size = s.keys * s.width;
    dkeys = scratch<S>(slot::keys, size);
    dvalues = scratch<S>(slot::values, size);
    for (index i = 0; i < size; ++i) dkeys[i] = dvalues[i] = 0;
    for (index h = hk * s.group(); h < (hk + 1) * s.group(); ++h) {
      for (index first = 0; first < s.queries; first += query_block) block(b, h, first);
    }
    store(dkeys, dk, b, hk);
    store(dvalues, dv, b, hk);
  }
};

template <class S>
void attention_gradient_all(const execution& ex, const attention_gradient_task<S>& all) {
  const index heads = all.s.key_heads;
  parallel_for(all.s.batch * heads, all.s.work() < parallel_threshold ? 1 : ex.threads, [&](index task) {
    attention_gradient_task<S> one = all;
    one.run(task / heads, task % heads);
  });
}

inline void attention_gradient(const execution& ex, view q, view k, view v, view segment_start, double scale, view out, view lse,
                               view dout, view dq, view dk, view dv) {
  const attention_shape s(q, k);
  if (q.type == dtype::f64) {
    attention_gradient_all<double>(ex, {s, q, k, v, segment_start, out, lse, dout, dq, dk, dv, scale});
  } else {
    attention_gradient_all<float>(ex, {s, q, k, v, segment_start, out, lse, dout, dq, dk, dv, static_cast<float>(scale)});
  }
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
