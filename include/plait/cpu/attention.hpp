#pragma once
// Causal attention within segments, with grouped heads: blocks of queries against the range of keys any of them sees.
#include "plait/cpu/elementwise.hpp"
#include "plait/cpu/lanes.hpp"
#include "plait/cpu/matmul.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

struct attention_shape {
  index batch, queries, keys, room, heads, key_heads, width, value_width;  // room: for so many keys there is memory

  attention_shape(const view& q, const view& k, const view& v, index present)
      : batch(q.extent[0]),
        queries(q.extent[1]),
        keys(present),
        room(k.extent[1]),
        heads(q.extent[2]),
        key_heads(k.extent[2]),
        width(q.extent[3]),
        value_width(v.extent[3]) {}
  index group() const { return key_heads > 0 ? heads / key_heads : 1; }
  double work() const {
    return 2.0 * static_cast<double>(batch * heads) * static_cast<double>(queries * keys) * static_cast<double>(width + value_width);
  }
  /// Number of a query's (a key's) head: times its width, where it begins.
  index query(index b, index i, index h) const { return (b * queries + i) * heads + h; }
  index key(index b, index j, index h) const { return (b * room + j) * key_heads + h; }
};

inline constexpr index query_block = 64;

/// Which keys each query of a block sees: [from[i], to[i]), and the range [low, high) that holds them all.
struct key_ranges {
  index from[query_block], to[query_block], low, high;

  key_ranges(const attention_shape& s, const std::int32_t* segment_start, index b, index first, index count)
      : low(s.keys), high(0) {
    for (index i = 0; i < count; ++i) {
      const index position = first + i + s.keys - s.queries;
      from[i] = to[i] = 0;
      if (position < 0 || position >= s.keys) continue;
      const index start = segment_start ? segment_start[b * s.room + position] : 0;
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

/// Rows of a view at an element offset, as an operand of a product: `step` is the stride of the rows.
inline operand rows_at(const view& v, index offset, index step) { return {element_at(v, offset), v.type, step, 1}; }
inline operand transposed(const operand& m) { return {m.data, m.type, m.inner, m.outer}; }

template <class S>
target sums_at(S* data, index step) {
  return {data, sizeof(S) == 8 ? dtype::f64 : dtype::f32, step};
}
template <class S>
operand sums_of(const S* data, index step) {
  return {data, sizeof(S) == 8 ? dtype::f64 : dtype::f32, step, 1};
}

/// Softmax of factor * row over [from, to), zeros elsewhere in [0, span); not yet divided by the sum, which is returned.
template <class S>
S softmax_row(S* row, index from, index to, index span, S factor, S& log_sum) {
  for (index j = 0; j < from; ++j) row[j] = 0;
  for (index j = to; j < span; ++j) row[j] = 0;
  log_sum = -std::numeric_limits<S>::infinity();
  if (from >= to) return 0;
  for (index j = from; j < to; ++j) row[j] *= factor;
  const S largest = maximum(row + from, to - from);
  for (index j = from; j < to; ++j) row[j] = exponential(row[j] - largest);
  const S total = sum(row + from, to - from);
  log_sum = largest + std::log(total);
  return total;
}

/// One block of queries of one head.
template <class S>
void attention_block(const attention_shape& s, const view& q, const view& k, const view& v, const view& segment_start, S factor,
                     const view& out, const view& lse, index b, index h, index first) {
  const index count = s.queries - first < query_block ? s.queries - first : query_block;
  const key_ranges range(s, segment_start.as<const std::int32_t>(), b, first, count);
  const index span = range.high - range.low, first_key = s.key(b, range.low, h / s.group()), width = s.value_width;
  S* scores = scratch<S>(slot::scores, count * span);
  S* sums = scratch<S>(slot::block, count * width);
  S total[query_block];
  multiply_any(count, span, s.width, rows_at(q, s.query(b, first, h) * s.width, s.heads * s.width),
               rows_at(k, first_key * s.width, s.key_heads * s.width), sums_at(scores, span), false);
  for (index i = 0; i < count; ++i) {
    S log_sum;
    // A query that sees nothing has an empty range outside [low, high).
    const bool sees = range.from[i] < range.to[i];
    const index from = sees ? range.from[i] - range.low : span, to = sees ? range.to[i] - range.low : span;
    total[i] = softmax_row(scores + i * span, from, to, span, factor, log_sum);
    if (lse) lse.as<S>()[(b * s.heads + h) * s.queries + first + i] = log_sum;
  }
  multiply_any(count, width, span, sums_of(scores, span), transposed(rows_at(v, first_key * width, s.key_heads * width)),
               sums_at(sums, width), false);
  for (index i = 0; i < count; ++i) {
    S* row = sums + i * width;
    if (range.from[i] < range.to[i]) {
      for (index c = 0; c < width; ++c) row[c] /= total[i];
    }
    convert_elements(row, statistic_of(out.type), element_at(out, s.query(b, first + i, h) * width), out.type, width);
  }
}

template <class S>
void attention_all(const execution& ex, const view& q, const view& k, const view& v, const view& segment_start, index keys, double scale,
                   const view& out, const view& lse) {
  const attention_shape s(q, k, v, keys);
  const index blocks = (s.queries + query_block - 1) / query_block;
  parallel_for(s.batch * s.heads * blocks, s.work() < parallel_threshold ? 1 : ex.threads, [&](index task) {
    const index b = task / blocks / s.heads, h = task / blocks % s.heads;
    attention_block<S>(s, q, k, v, segment_start, static_cast<S>(scale), out, lse, b, h, task % blocks * query_block);
  });
}

inline void attention(const execution& ex, view q, view k, view v, view segment_start, std::int64_t keys, double scale, view out, view lse) {
  if (out.size() == 0) return;
  if (q.type == dtype::f64) return attention_all<double>(ex, q, k, v, segment_start, keys, scale, out, lse);
  attention_all<float>(ex, q, k, v, segment_start, keys, scale, out, lse);
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
