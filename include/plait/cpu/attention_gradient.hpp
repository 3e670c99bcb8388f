#pragma once
// Gradients of attention: the probabilities are recomputed from the scores and their log-sum.
#include <algorithm>

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
    S* to = scratch<S>(which, s.value_width);
    convert_elements(element_at(m, at), m.type, to, statistic_of(m.type), s.value_width);
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
      const index at = s.query(b, first + i, h) * s.value_width;
      const S delta = dot(row(out, at, slot::row1), row(dout, at, slot::row2), s.value_width);
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
    const index span = range.high - range.low, width = s.width, value_width = s.value_width;
    const index first_query = s.query(b, first, h), first_key = s.key(b, range.low, h / s.group());
    S* scores = scratch<S>(slot::scores, count * span);
    S* dscores = scratch<S>(slot::score_gradients, count * span);
    const operand queries = rows_at(q, first_query * width, s.heads * width), keys = rows_at(k, first_key * width, s.key_heads * width);
    const operand values = rows_at(v, first_key * value_width, s.key_heads * value_width),
                  douts = rows_at(dout, first_query * value_width, s.heads * value_width);
    multiply_any(count, span, width, queries, keys, sums_at(scores, span), false);
    multiply_any(count, span, value_width, douts, values, sums_at(dscores, span), false);
    rows(range, b, h, first, count, scores, dscores);
    const operand p = sums_of(scores, span), dp = sums_of(dscores, span);
    multiply_any(span, value_width, count, transposed(p), transposed(douts), sums_at(dvalues + range.low * value_width, value_width), true);
    multiply_any(span, width, count, transposed(dp), transposed(queries), sums_at(dkeys + range.low * width, width), true);
    if (dq)
      multiply_any(count, width, span, dp, transposed(keys), {element_at(dq, first_query * width), dq.type, s.heads * width}, false);
  }

  void store(const S* from, const view& to, index width, index b, index hk) const {
    for (index j = 0; j < s.keys && to; ++j) {
      convert_elements(from + j * width, statistic_of(to.type), element_at(to, s.key(b, j, hk) * width), to.type, width);
    }
  }

  void run(index b, index hk) {
    dkeys = scratch<S>(slot::keys, s.keys * s.width);
    dvalues = scratch<S>(slot::values, s.keys * s.value_width);
    std::fill_n(dkeys, s.keys * s.width, S(0));
    std::fill_n(dvalues, s.keys * s.value_width, S(0));
    for (index h = hk * s.group(); h < (hk + 1) * s.group(); ++h) {
      for (index first = 0; first < s.queries; first += query_block) block(b, h, first);
    }
    store(dkeys, dk, s.width, b, hk);
    store(dvalues, dv, s.value_width, b, hk);
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
  const attention_shape s(q, k, v, k.extent[1]);
  if (q.type == dtype::f64) {
    attention_gradient_all<double>(ex, {s, q, k, v, segment_start, out, lse, dout, dq, dk, dv, scale});
  } else {
    attention_gradient_all<float>(ex, {s, q, k, v, segment_start, out, lse, dout, dq, dk, dv, static_cast<float>(scale)});
  }
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
