#pragma once
// RMS normalisation over the last dim, as Hugging Face models compute it, and rows minus their mean.
#include "plait/cpu/elementwise.hpp"
#include "plait/cpu/lanes.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

/// The normalised x as the weight sees it: rounded to the activation type first.
template <class T, class S>
S rounded(S value) {
  return convert<S>(convert<T>(value));
}

template <class S>
const S* weights_as(const view& weight, index n) {
  S* w = scratch<S>(slot::row3, n);
  convert_elements(weight.data, weight.type, w, sizeof(S) == 8 ? dtype::f64 : dtype::f32, n);
  return w;
}

inline void rms_norm(const execution&, view x, view weight, double epsilon, view y, view inverse_rms) {
  visit_float("rms_norm", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = x.rows(), n = x.columns();
    const S* w = weights_as<S>(weight, n);
    for (index r = 0; r < rows; ++r) {
      const S* a = row_as<S>(x.as<const T>() + r * n, n, slot::row1);
      const S inverse = S(1) / std::sqrt(dot(a, a, n) / static_cast<S>(n) + static_cast<S>(epsilon));
      if (inverse_rms) inverse_rms.as<S>()[r] = inverse;
      T* to = y.as<T>() + r * n;
      for (index c = 0; c < n; ++c) to[c] = convert<T>(w[c] * rounded<T>(a[c] * inverse));
    }
  });
}

inline void rms_norm_gradient(const execution&, view x, view weight, view inverse_rms, view dy, view dx, view dweight) {
  visit_float("rms_norm_gradient", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = x.rows(), n = x.columns();
    const S* w = weights_as<S>(weight, n);
    double* sums = scratch<double>(slot::columns, n);
    for (index c = 0; c < n; ++c) sums[c] = 0;
    for (index r = 0; r < rows; ++r) {
      const S* a = row_as<S>(x.as<const T>() + r * n, n, slot::row1);
      const S* g = row_as<S>(dy.as<const T>() + r * n, n, slot::row2);
      const S inverse = inverse_rms.as<const S>()[r];
      if (dweight) {
        for (index c = 0; c < n; ++c) sums[c] += static_cast<double>(g[c] * rounded<T>(a[c] * inverse));
      }
      if (dx) {
        const S mean = dot(g, w, a, n) * inverse / static_cast<S>(n);
        T* to = dx.as<T>() + r * n;
        for (index c = 0; c < n; ++c) to[c] = convert<T>(inverse * (g[c] * w[c] - a[c] * inverse * mean));
      }
    }
    if (dweight) add_columns(sums, dweight, n);
  });
}

inline void centre_rows(const execution&, view x, view y) {
  visit_float("centre_rows", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = x.rows(), n = x.columns();
    for (index r = 0; r < rows; ++r) {
      const S* a = row_as<S>(x.as<const T>() + r * n, n, slot::row1);
      const S mean = sum(a, n) / static_cast<S>(n);
      T* to = y.as<T>() + r * n;
      for (index c = 0; c < n; ++c) to[c] = convert<T>(a[c] - mean);
    }
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
