#pragma once
// Causal attention within segments, with grouped heads: blocks of queries against the range of keys any of them sees.
#include "plait/cpu/lanes.hpp"
#include "plait/cpu/matmul.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

struct attention_shape {
  index batch, queries, keys, heads, key_heads, width;

  attention_shape(const view& q, const view& k)
      : batch(q.extent[0]), queries(q.extent[1]), keys(k.extent[1]), heads(q.extent[2]), key_heads(k.extent[2]), width(q.extent[3]) {}
  index group() const { return key_heads > 0 ? heads / key_heads : 1; }
  double work() const {
    return 4.0 * static_cast<double>(batch * heads) * static_cast<double>(queries * keys) * static_cast<double>(width);
  }
  index q_at(index b, index i, index h) const { return ((b * queries + i) * heads + h) * width; }
  index k_at(index b, index j, index h) const { return ((b * keys + j) * key_heads + h) * width; }
};

inline constexpr index query_block = 64;

/// Which keys each query of a block sees: [from[i], to[i]), and the range [low, high) that holds them all.
struct key_ranges {
  index from[query_block], to[query_block], low, high;

  key_ranges(const attention_shape& s, const std::int32_t* segment_start, index b, index first, index count) : low(s.keys), high(0) {
    for (index i = 0; i < count; ++i) {
      const index position = first + i + s.keys - s.queries;
      from[i] = to[i] = 0;
      if (position < 0 || position >= s.keys) continue;
      const index start = segment_start ? segment_start[b * s.keys + position] : 0;
      from[i] = start < 0 ? 0 : start;
      to[i] = position + 1;
      if (from[i] >= to[i]) {
        from[i] = to[i] = 0;  // sees nothing
        continue;
      }
      low = from[i] < low ? from[i] : low;
      high = to[i] > high ? to[i] : high;
    }
    if (low > high) low = high;
  }
};

/// scores[count, high - low] = q k^T for one block of queries of one head.
template <class T, class S>
void attention_scores(const attention_shape& s, const T* q, dtype type, const T* k, index b, index h, index first, index count,
                      const key_ranges& range, S* scores) {
  const index span = range.high - range.low;
  multiply_any(count, span, s.width, {q + s.q_at(b, first, h), type, s.heads * s.width, 1},
               {k + s.k_at(b, range.low, h / s.group()), type, s.key_heads * s.width, 1},
               {scores, sizeof(S) == 8 ? dtype::f64 : dtype::f32, span}, false);
}

inline void attention(const execution& ex, view q, view k, view v, view segment_start, double scale, view out, view lse) {
  const attention_shape s(q, k);
  if (q.size() == 0) return;
  visit_float("attention", q.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const dtype sums = statistic_of(q.type);
    const S factor = static_cast<S>(scale);
    const index blocks = (s.queries + query_block - 1) / query_block;
    parallel_for(s.batch * s.heads * blocks, s.work() < parallel_threshold ? 1 : ex.threads, [&](index task) {
      const index b = task / blocks / s.heads, h = task / blocks % s.heads, first = task % blocks * query_block;
      const index count = s.queries - first < query_block ? s.queries - first : query_block;
      const key_ranges range(s, segment_start.as<const std::int32_t>(), b, first, count);
      const index span = range.high - range.low;
      S* scores = scratch<S>(slot::scores, count * span);
      S* sum_out = scratch<S>(slot::block, count * s.width);
      attention_scores(s, q.as<const T>(), q.type, k.as<const T>(), b, h, first, count, range, scores);
      S total[query_block];
      for (index i = 0; i < count; ++i) {
        S* row = scores + i * span;
        const index from = range.from[i] - range.low, n = range.to[i] - range.from[i];
        total[i] = 0;
        S log_sum = -std::numeric_limits<S>::infinity();
        if (n <= 0) {
          for (index j = 0; j < span; ++j) row[j] = 0;
        } else {
          for (index j = 0; j < n; ++j) row[from + j] *= factor;
          const S largest = maximum(row + from, n);
          for (index j = 0; j < from; ++j) row[j] = 0;
          for (index j = 0; j < n; ++j) row[from + j] = exponential(row[from + j] - largest);
          for (index j = from + n; j < span; ++j) row[j] = 0;
          total[i] = sum(row + from, n);
          log_sum = largest + std::log(total[i]);
        }
        if (lse) lse.as<S>()[(b * s.heads + h) * s.queries + first + i] = log_sum;
      }
      multiply_any(count, s.width, span, {scores, sums, span, 1},
                   {v.as<const T>() + s.k_at(b, range.low, h / s.group()), v.type, 1, s.key_heads * s.width},
                   {sum_out, sums, s.width}, false);
      for (index i = 0; i < count; ++i) {
        T* to = out.as<T>() + s.q_at(b, first + i, h);
        const bool seen = range.to[i] > range.from[i];
        for (index c = 0; c < s.width; ++c) to[c] = seen ? convert<T>(sum_out[i * s.width + c] / total[i]) : convert<T>(S(0));
      }
    });
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
