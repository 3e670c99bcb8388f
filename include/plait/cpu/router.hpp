#pragma once
// The router of a mixture of experts: softmax, the k best, and load statistics.
#include "plait/cpu/elementwise.hpp"
#include "plait/cpu/embedding.hpp"
#include "plait/cpu/lanes.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

/// The k largest of a[0..n), ties to the lower index, in falling order; n < k leaves -1 in the rest.
template <class S>
void best_of(const S* a, index n, index k, std::int32_t* best) {
  index held = 0;
  for (index e = 0; e < n; ++e) {
    if (held == k && (k == 0 || !(a[e] > a[best[k - 1]]))) continue;
    index at = held < k ? held++ : k - 1;
    for (; at > 0 && a[e] > a[best[at - 1]]; --at) best[at] = best[at - 1];
    best[at] = static_cast<std::int32_t>(e);
  }
  for (; held < k; ++held) best[held] = -1;
}

template <class S>
bool all_finite(const S* a, index n) {
  S bad = 0;
  for (index i = 0; i < n; ++i) bad = a[i] - a[i] == S(0) ? bad : S(1);
  return bad == S(0);
}

inline void router(const execution& ex, view logits, bool normalise, view probabilities, view ids, view scores) {
  visit_float("router", logits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = logits.rows(), experts = logits.columns(), k = ids.columns();
    for (index t = 0; t < rows; ++t) {
      const S* l = row_as<S>(logits.as<const T>() + t * experts, experts, slot::row1);
      S* p = probabilities ? probabilities.as<S>() + t * experts : scratch<S>(slot::row2, experts);
      std::int32_t* chosen = ids.as<std::int32_t>() + t * k;
      if (!all_finite(l, experts)) {
        raise(ex, fault::nan_router_logits, t);
        for (index e = 0; e < experts; ++e) p[e] = 0;
        for (index j = 0; j < k; ++j) chosen[j] = j < experts ? static_cast<std::int32_t>(j) : -1;
        for (index j = 0; j < k && scores; ++j) set_number(scores, t * k + j, S(0));
        continue;
      }
      best_of(l, experts, k, chosen);
      const S largest = maximum(l, experts);
      for (index e = 0; e < experts; ++e) p[e] = exponential(l[e] - largest);
      const S total = sum(p, experts);
      for (index e = 0; e < experts; ++e) p[e] /= total;
      if (!scores) continue;
      S kept = 0;
      for (index j = 0; j < k; ++j) kept += chosen[j] >= 0 ? p[chosen[j]] : S(0);
      for (index j = 0; j < k; ++j) {
        const S score = chosen[j] >= 0 ? p[chosen[j]] : S(0);
        set_number(scores, t * k + j, normalise ? score / kept : score);
      }
    }
  });
}

/// dlogits = p * (dp - sum p dp), written over dp.
template <class S>
void softmax_gradient_row(const S* p, S* dp, index n) {
  const S mean = dot(p, static_cast<const S*>(dp), n);
  for (index e = 0; e < n; ++e) dp[e] = p[e] * (dp[e] - mean);
}

inline void router_gradient(const execution&, view probabilities, view ids, view dscores, bool normalise, view dlogits) {
  visit_float("router_gradient", dlogits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = probabilities.rows(), experts = probabilities.columns(), k = ids.columns();
    for (index t = 0; t < rows; ++t) {
      const S* p = probabilities.as<const S>() + t * experts;
      const std::int32_t* chosen = ids.as<const std::int32_t>() + t * k;
      S* d = scratch<S>(slot::row1, experts);
      for (index e = 0; e < experts; ++e) d[e] = 0;
      S kept = 0, mean = 0;
      const auto valid = [&](index j) { return chosen[j] >= 0 && chosen[j] < experts; };
      for (index j = 0; j < k; ++j) {
        if (!valid(j)) continue;
        kept += p[chosen[j]];
        mean += number_at<S>(dscores, t * k + j) * p[chosen[j]];
      }
      if (kept > S(0)) {  // a row that raised nan_router_logits has zero probabilities and no gradient
        for (index j = 0; j < k; ++j) {
          if (!valid(j)) continue;
          const S ds = number_at<S>(dscores, t * k + j);
          d[chosen[j]] += normalise ? (ds - mean / kept) / kept : ds;
        }
        softmax_gradient_row(p, d, experts);
      }
      convert_row(d, dlogits.as<T>() + t * experts, experts);
    }
  });
}

inline void router_statistics(const execution&, view probabilities, view ids, view valid, view counts, view probability_sum) {
  visit_float("router_statistics", probabilities.type, [&](auto tag) {
    using S = typename decltype(tag)::type;
    const index rows = probabilities.rows(), experts = probabilities.columns(), k = ids.columns();
    double* sums = scratch<double>(slot::columns, 2 * experts);
    double* chosen = sums + experts;  // exact: far below 2^53
    for (index e = 0; e < 2 * experts; ++e) sums[e] = 0;
    for (index t = 0; t < rows; ++t) {
      if (valid && valid.as<const std::uint8_t>()[t] == 0) continue;
      const S* p = probabilities.as<const S>() + t * experts;
      for (index e = 0; e < experts; ++e) sums[e] += convert<double>(p[e]);
      for (index j = 0; j < k; ++j) {
        const index e = ids.as<const std::int32_t>()[t * k + j];
        if (e >= 0 && e < experts) chosen[e] += 1;
      }
    }
    for (index e = 0; e < experts && counts; ++e) set_number(counts, e, chosen[e]);
    for (index e = 0; e < experts && probability_sum; ++e) set_number(probability_sum, e, sums[e]);
  });
}

inline void router_statistics_gradient(const execution&, view probabilities, view valid, view dprobability_sum, view dlogits) {
  visit_float("router_statistics_gradient", dlogits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = probabilities.rows(), experts = probabilities.columns();
    S* d = scratch<S>(slot::row1, experts);
    for (index t = 0; t < rows; ++t) {
      const bool counted = !valid || valid.as<const std::uint8_t>()[t] != 0;
      for (index e = 0; e < experts; ++e) d[e] = counted ? number_at<S>(dprobability_sum, e) : S(0);
      if (counted) softmax_gradient_row(probabilities.as<const S>() + t * experts, d, experts);
      convert_row(d, dlogits.as<T>() + t * experts, experts);
    }
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
