#pragma once
// Attention sinks: one logit a head more in attention's softmax, applied to what attention gave without it.
#include "plait/cpu/attention.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

/// Calls body(b, i, h, row offset in out, offset in lse) for every query of every head.
template <class F>
void for_query_heads(const view& out, const F& body) {
  const index batch = out.extent[0], queries = out.extent[1], heads = out.extent[2], width = out.extent[3];
  for (index b = 0; b < batch; ++b)
    for (index i = 0; i < queries; ++i)
      for (index h = 0; h < heads; ++h) body(h, ((b * queries + i) * heads + h) * width, (b * heads + h) * queries + i);
}

inline void attention_sinks(const execution&, view sinks, view out, view lse) {
  visit_float("attention_sinks", out.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    for_query_heads(out, [&](index h, index at, index row) {
      S& log_sum = lse.as<S>()[row];
      const S sink = number_at<S>(sinks, h), largest = log_sum > sink ? log_sum : sink;
      const S whole = largest + std::log(std::exp(log_sum - largest) + std::exp(sink - largest));
      const S kept = std::exp(log_sum - whole);
      log_sum = whole;
      T* to = out.as<T>() + at;
      for (index c = 0; c < out.extent[3]; ++c) to[c] = convert<T>(kept * convert<S>(to[c]));
    });
  });
}

inline void attention_sinks_gradient(const execution&, view sinks, view out, view lse, view dout, view dsinks) {
  visit_float("attention_sinks_gradient", out.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index heads = out.extent[2];
    double* sums = scratch<double>(slot::columns, heads);
    for (index h = 0; h < heads; ++h) sums[h] = 0;
    for_query_heads(out, [&](index h, index at, index row) {
      const S* y = row_as<S>(out.as<const T>() + at, out.extent[3], slot::row1);
      const S* d = row_as<S>(dout.as<const T>() + at, out.extent[3], slot::row2);
      const S share = std::exp(number_at<S>(sinks, h) - lse.as<const S>()[row]);
      sums[h] -= static_cast<double>(share * dot(y, d, out.extent[3]));
    });
    add_columns(sums, dsinks, heads);
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
