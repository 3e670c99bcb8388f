#pragma once
// AdamW, step for step as torch.optim.AdamW, and the sum of squares that gradient clipping needs.
#include <cmath>

#include "plait/cpu/elementwise.hpp"
#include "plait/cpu/lanes.hpp"
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

/// P: the master weights and moments; arithmetic is in float for bf16.
template <class P, class G>
void adamw_elements(P* p, const G* gradient, P* m, P* v, index n, const adamw_options& o) {
  using S = std::conditional_t<std::is_same_v<P, double>, double, float>;
  // Scalars are worked out in double and rounded once, as torch does with Python numbers.
  const double step = static_cast<double>(o.step);
  const double correction1 = 1 - std::pow(o.beta1, step), correction2 = 1 - std::pow(o.beta2, step);
  const S decay = static_cast<S>(1 - o.learning_rate * o.weight_decay), weight1 = static_cast<S>(1 - o.beta1);
  const S beta2 = static_cast<S>(o.beta2), weight2 = static_cast<S>(1 - o.beta2), root2 = static_cast<S>(std::sqrt(correction2));
  const S epsilon = static_cast<S>(o.epsilon), size = static_cast<S>(-(o.learning_rate / correction1));
  const S factor = static_cast<S>(o.gradient_scale);
  const bool from_start = 1 - o.beta1 < 0.5;  // torch.lerp's two forms
  for (index i = 0; i < n; ++i) {
    const S g = convert<S>(gradient[i]) * factor, before = convert<S>(m[i]);
    const S first = from_start ? before + weight1 * (g - before) : g - (g - before) * (S(1) - weight1);
    const S second = convert<S>(v[i]) * beta2 + weight2 * g * g;
    m[i] = convert<P>(first);
    v[i] = convert<P>(second);
    const S denominator = std::sqrt(second) / root2 + epsilon;
    p[i] = convert<P>(convert<S>(p[i]) * decay + size * first / denominator);
  }
}

inline void adamw(const execution& ex, view master, view gradient, view moment1, view moment2, view copy, const adamw_options& options) {
  if (moment1.type != master.type || moment2.type != master.type) unsupported("adamw's moments beside another type of weights", moment1.type);
  visit_float("adamw", gradient.type, [&](auto tag) {
    using G = typename decltype(tag)::type;
    visit_float("adamw's master copy", master.type, [&](auto master_tag) {
      using P = typename decltype(master_tag)::type;
      adamw_elements(master.as<P>(), gradient.as<const G>(), moment1.as<P>(), moment2.as<P>(), master.size(), options);
    });
  });
  if (copy) cast(ex, master, copy);
}

inline void sum_of_squares(const execution&, view x, view out) {
  double total = 0;
  visit_float("sum_of_squares", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* a = x.as<const T>();
    const index n = x.size();
    constexpr index chunk = 512;
    double wide[chunk];
    for (index at = 0; at < n; at += chunk) {
      const index m = n - at < chunk ? n - at : chunk;
      for (index i = 0; i < m; ++i) wide[i] = convert<double>(a[at + i]);
      total += dot(static_cast<const double*>(wide), static_cast<const double*>(wide), m);
    }
  });
  out.as<double>()[0] += total;
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
