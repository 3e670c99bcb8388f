#pragma once
// The load-balancing product over experts.
#include "plait/cpu/numbers.hpp"
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1::cpu_detail {

template <class T>
void balance_of(view statistics, double factor, view loss) {
  const std::int64_t experts = statistics.extent[1];
  const T* s = statistics.as<T>();
  double sum = 0;
  for (std::int64_t e = 0; e < experts; ++e) sum += static_cast<double>(s[e]) * static_cast<double>(s[experts + e]);
  loss.as<T>()[0] = static_cast<T>(factor * sum);
}
inline void balance(const execution&, view statistics, double factor, view loss) {
  if (statistics.type == dtype::f64) balance_of<double>(statistics, factor, loss);
  else balance_of<float>(statistics, factor, loss);
}

template <class T>
void balance_gradient_of(view statistics, double factor, view dloss, view dstatistics) {
  const std::int64_t experts = statistics.extent[1];
  const T* s = statistics.as<T>();
  T* d = dstatistics.as<T>();
  const double g = factor * static_cast<double>(dloss.as<T>()[0]);
  for (std::int64_t e = 0; e < experts; ++e) {
    d[e] = T(0);
    d[experts + e] = static_cast<T>(g * static_cast<double>(s[e]));
  }
}
inline void balance_gradient(const execution&, view statistics, double factor, view dloss, view dstatistics) {
  if (statistics.type == dtype::f64) balance_gradient_of<double>(statistics, factor, dloss, dstatistics);
  else balance_gradient_of<float>(statistics, factor, dloss, dstatistics);
}

}  // namespace plait::inline v0_1::cpu_detail
