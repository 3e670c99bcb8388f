#pragma once
// Cross entropy in parts, so that the vocabulary may be split: row maximum, sums over own columns, then the loss.
#include "plait/cpu/embedding.hpp"
#include "plait/cpu/lanes.hpp"
#include "plait/cpu/workspace.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

inline constexpr std::int64_t ignored_label = -100;

inline void row_maximum(const execution&, view logits, view maximum) {
  visit_float("row_maximum", logits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = logits.rows(), n = logits.columns();
    for (index r = 0; r < rows; ++r) {
      maximum.as<S>()[r] = cpu_detail::maximum(row_as<S>(logits.as<const T>() + r * n, n, slot::row1), n);
    }
  });
}

inline void argmax(const execution&, view x, view places) {
  visit_float("argmax", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index n = x.columns();
    for (index r = 0; r < x.rows(); ++r) {
      const T* row = x.as<const T>() + r * n;
      std::int64_t best = -1;
      S largest = 0;
      for (index i = 0; i < n; ++i) {
        const S value = convert<S>(row[i]);
        if (std::isnan(value)) {
          best = -1;
          break;
        }
        if (best < 0 || value > largest) best = i, largest = value;
      }
      places.as<std::int64_t>()[r] = best >= 0 && std::isfinite(largest) ? best : -1;
    }
  });
}

inline void cross_entropy_parts(const execution& ex, view logits, view maximum, view labels, std::int64_t first,
                                std::int64_t vocabulary, view parts) {
  visit_float("cross_entropy_parts", logits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = logits.rows(), n = logits.columns();
    constexpr index chunk = 1024;
    S terms[chunk];
    for (index r = 0; r < rows; ++r) {
      const T* l = logits.as<const T>() + r * n;
      const S largest = maximum.as<const S>()[r];
      double total = 0;
      for (index at = 0; at < n; at += chunk) {
        const index m = n - at < chunk ? n - at : chunk;
        for (index i = 0; i < m; ++i) terms[i] = exponential(convert<S>(l[at + i]) - largest);
        total += static_cast<double>(sum(static_cast<const S*>(terms), m));
      }
      const std::int64_t label = labels.as<const std::int64_t>()[r];
      if (label != ignored_label && (label < 0 || label >= vocabulary)) raise(ex, fault::label_out_of_range, r);
      const bool here = label >= 0 && label < vocabulary && label >= first && label - first < n;
      parts.as<S>()[r] = static_cast<S>(total);
      parts.as<S>()[rows + r] = here ? convert<S>(l[label - first]) - largest : S(0);
    }
  });
}

inline void cross_entropy_parts_gradient(const execution&, view logits, view maximum, view labels, std::int64_t first,
                                         view dparts, view dlogits) {
  visit_float("cross_entropy_parts_gradient", logits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = logits.rows(), n = logits.columns();
    for (index r = 0; r < rows; ++r) {
      const T* l = logits.as<const T>() + r * n;
      T* d = dlogits.as<T>() + r * n;
      const S largest = maximum.as<const S>()[r], dsum = dparts.as<const S>()[r], dtarget = dparts.as<const S>()[rows + r];
      if (dsum == S(0) && dtarget == S(0)) {  // ignored: no gradient, even from logits that are not finite
        for (index c = 0; c < n; ++c) d[c] = convert<T>(S(0));
        continue;
      }
      const std::int64_t label = labels.as<const std::int64_t>()[r];
      const bool here = label >= 0 && label >= first && label - first < n;
      // Read before the row is written: dlogits may be logits.
      const S at_target = here ? dsum * exponential(convert<S>(l[label - first]) - largest) + dtarget : S(0);
      for (index c = 0; c < n; ++c) d[c] = convert<T>(dsum * exponential(convert<S>(l[c]) - largest));
      if (here) d[label - first] = convert<T>(at_target);
    }
  });
}

inline void cross_entropy_sum(const execution&, view parts, view labels, double factor, view loss) {
  visit_float("cross_entropy_sum", parts.type, [&](auto tag) {
    using S = typename decltype(tag)::type;
    const index rows = labels.size();
    double total = 0;
    for (index r = 0; r < rows; ++r) {
      if (labels.as<const std::int64_t>()[r] < 0) continue;
      total += std::log(convert<double>(parts.as<const S>()[r])) - convert<double>(parts.as<const S>()[rows + r]);
    }
    set_number(loss, 0, factor * total);
  });
}

inline void cross_entropy_sum_gradient(const execution&, view parts, view labels, double factor, view dloss, view dparts) {
  visit_float("cross_entropy_sum_gradient", parts.type, [&](auto tag) {
    using S = typename decltype(tag)::type;
    const index rows = labels.size();
    const double d = factor * number_at<double>(dloss, 0);
    for (index r = 0; r < rows; ++r) {
      const bool valid = labels.as<const std::int64_t>()[r] >= 0;
      dparts.as<S>()[r] = valid ? convert<S>(d / convert<double>(parts.as<const S>()[r])) : convert<S>(0.0);
      dparts.as<S>()[rows + r] = valid ? convert<S>(-d) : convert<S>(0.0);
    }
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
