#pragma once
// The router of a mixture of experts: scores, the k best, and load statistics.
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

/// Is logit l near the chosen one m? As transformers computes it: 0 / 0 is near.
template <class S>
bool near_logit(S l, S m, S nearness) {
  const S size = l < S(0) ? -l : l;
  return !((m - l) / (size > m ? size : m) > nearness);
}
/// The experts over which SparseMixer's j-th softmax runs: those near the j-th choice, for the second choice without the first.
template <class S>
bool in_mixture(const S* logits, const std::int32_t* chosen, index j, index e, S nearness) {
  return !(j == 1 && e == chosen[0]) && near_logit(logits[e], logits[chosen[j]], nearness);
}
/// 1 / sum over the mixture of exp(logit - chosen logit), which is the chosen one's share.
template <class S>
S mixture_share(const S* logits, index experts, const std::int32_t* chosen, index j, S nearness) {
  S total = 0;
  for (index e = 0; e < experts; ++e)
    if (in_mixture(logits, chosen, j, e, nearness)) total += exponential(logits[e] - logits[chosen[j]]);
  return S(1) / total;
}

/// Minus infinity for the experts outside of the best groups; ties between groups to the lower one.
template <class S>
void keep_groups(S* choice, index experts, const router_options& o, S* worth) {
  const index size = experts / o.groups;
  for (index g = 0; g < o.groups; ++g) {
    S first = -std::numeric_limits<S>::infinity(), second = first;
    for (index e = g * size; e < (g + 1) * size; ++e) {
      if (choice[e] > first) second = first, first = choice[e];
      else if (choice[e] > second) second = choice[e];
    }
    worth[g] = o.worth == group_worth::best ? first : first + second;
  }
  for (index g = 0; g < o.groups; ++g) {
    index better = 0;
    for (index h = 0; h < o.groups; ++h) better += worth[h] > worth[g] || (worth[h] == worth[g] && h < g) ? 1 : 0;
    for (index e = g * size; better >= o.kept_groups && e < (g + 1) * size; ++e) choice[e] = -std::numeric_limits<S>::infinity();
  }
}

/// What the sum of a token's k scores is divided by.
template <class S>
S divisor(S sum, const router_options& o) {
  if (!o.normalise) return S(1);
  const S least = static_cast<S>(o.smallest_sum);
  return (sum > least ? sum : least) + static_cast<S>(o.epsilon);
}

inline void router(const execution& ex, view logits, view bias, const router_options& o, view probabilities, view ids, view scores) {
  visit_float("router", logits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = logits.rows(), experts = logits.columns(), k = ids.columns();
    S* const choice = scratch<S>(slot::row3, experts + k + o.groups);
    S* const raw = choice + experts;
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
      if (o.scoring == router_scoring::sigmoid) {
        for (index e = 0; e < experts; ++e) p[e] = S(1) / (S(1) + exponential(-l[e]));
      } else {
        const S largest = maximum(l, experts);
        for (index e = 0; e < experts; ++e) p[e] = exponential(l[e] - largest);
        const S total = sum(p, experts);
        for (index e = 0; e < experts; ++e) p[e] /= total;
      }
      // Where nothing is added, logits order experts as probabilities do, and better: those may be equal by rounding.
      const bool by_logits = !bias && (o.groups == 1 || o.worth == group_worth::best);
      for (index e = 0; e < experts; ++e) choice[e] = by_logits ? l[e] : p[e] + (bias ? number_at<S>(bias, e) : S(0));
      if (o.groups > 1) keep_groups(choice, experts, o, raw + k);
      best_of(choice, experts, k, chosen);
      if (!scores) continue;
      S kept = 0;
      for (index j = 0; j < k; ++j) {
        if (chosen[j] < 0) raw[j] = 0;
        else if (o.scoring == router_scoring::sparsemixer) raw[j] = mixture_share(l, experts, chosen, j, static_cast<S>(o.nearness));
        else raw[j] = p[chosen[j]];
        kept += raw[j];
      }
      for (index j = 0; j < k; ++j) set_number(scores, t * k + j, raw[j] / divisor(kept, o) * static_cast<S>(o.factor));
    }
  });
}

/// dlogits = p * (dp - sum p dp), written over dp.
template <class S>
void softmax_gradient_row(const S* p, S* dp, index n) {
  const S mean = dot(p, static_cast<const S*>(dp), n);
  for (index e = 0; e < n; ++e) dp[e] = p[e] * (dp[e] - mean);
}

inline void router_gradient(const execution&, view logits, view probabilities, view ids, view dscores, const router_options& o, view dlogits) {
  visit_float("router_gradient", dlogits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = probabilities.rows(), experts = probabilities.columns(), k = ids.columns();
    const bool mixes = o.scoring == router_scoring::sparsemixer;
    const S nearness = static_cast<S>(o.nearness), factor = static_cast<S>(o.factor);
    S* const d = scratch<S>(slot::row1, experts + k);
    S* const raw = d + experts;
    for (index t = 0; t < rows; ++t) {
      const S* p = probabilities.as<const S>() + t * experts;
      const S* l = mixes ? row_as<S>(logits.as<const T>() + t * experts, experts, slot::row2) : nullptr;
      const std::int32_t* chosen = ids.as<const std::int32_t>() + t * k;
      for (index e = 0; e < experts; ++e) d[e] = 0;
      S chosen_probability = 0, kept = 0, mean = 0;
      const auto valid = [&](index j) { return chosen[j] >= 0 && chosen[j] < experts; };
      for (index j = 0; j < k; ++j) chosen_probability += valid(j) ? p[chosen[j]] : S(0);
      if (chosen_probability > S(0)) {  // a row that raised nan_router_logits has zero probabilities and no gradient
        for (index j = 0; j < k; ++j) {
          raw[j] = !valid(j) ? S(0) : mixes ? mixture_share(l, experts, chosen, j, nearness) : p[chosen[j]];
          kept += raw[j];
          mean += number_at<S>(dscores, t * k + j) * raw[j];
        }
        const S by = divisor(kept, o);
        const S shared = o.normalise && kept >= static_cast<S>(o.smallest_sum) ? mean / by : S(0);  // a floor does not follow the sum
        for (index j = 0; j < k; ++j) {
          if (!valid(j)) continue;
          const S draw = (number_at<S>(dscores, t * k + j) - shared) / by * factor;
          if (!mixes) {
            d[chosen[j]] += draw;
            continue;
          }
          // The share's softmax: d logit_e = share * (delta - exp(logit_e - chosen logit) * share).
          for (index e = 0; e < experts; ++e)
            if (in_mixture(l, chosen, j, e, nearness)) d[e] -= draw * raw[j] * raw[j] * exponential(l[e] - l[chosen[j]]);
          d[chosen[j]] += draw * raw[j];
        }
        if (o.scoring == router_scoring::softmax) softmax_gradient_row(p, d, experts);
        if (o.scoring == router_scoring::sigmoid)
          for (index e = 0; e < experts; ++e) d[e] *= p[e] * (S(1) - p[e]);
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
