#pragma once
// Gated activation: silu(gate) * up, with gate and up packed in one row or apart; sigmoid(gate) * x with one gate a row.
#include "plait/cpu/gated_activation.hpp"
#include "plait/cpu/lanes.hpp"
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

template <class T>
void gate_row(const T* gate, const T* up, T* y, index n) {
  using S = statistic<T>;
  for (index i = 0; i < n; ++i) {
    const S g = convert<S>(gate[i]);
    y[i] = convert<T>(g / (S(1) + exponential(-g)) * convert<S>(up[i]));
  }
}

template <class T>
void gate_row_gradient(const T* gate, const T* up, const T* dy, T* dgate, T* dup, index n) {
  using S = statistic<T>;
  for (index i = 0; i < n; ++i) {
    const S g = convert<S>(gate[i]), u = convert<S>(up[i]), d = convert<S>(dy[i]);
    const S sigmoid = S(1) / (S(1) + exponential(-g));
    dgate[i] = convert<T>(d * u * sigmoid * (S(1) + g * (S(1) - sigmoid)));
    dup[i] = convert<T>(d * (g * sigmoid));
  }
}

inline void swiglu(const execution&, view packed, const gated_options& options, view y) {
  if (!(options == gated_options{})) return gated(packed, options, y);
  visit_float("swiglu", packed.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const index rows = packed.rows(), n = packed.columns() / 2;
    for (index r = 0; r < rows; ++r) {
      const T* gate = packed.as<const T>() + r * 2 * n;
      gate_row(gate, gate + n, y.as<T>() + r * n, n);
    }
  });
}

inline void swiglu_gradient(const execution&, view packed, view dy, const gated_options& options, view dpacked) {
  if (!(options == gated_options{})) return gated_gradient(packed, dy, options, dpacked);
  visit_float("swiglu_gradient", packed.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const index rows = packed.rows(), n = packed.columns() / 2;
    for (index r = 0; r < rows; ++r) {
      const T* gate = packed.as<const T>() + r * 2 * n;
      T* dgate = dpacked.as<T>() + r * 2 * n;
      gate_row_gradient(gate, gate + n, dy.as<const T>() + r * n, dgate, dgate + n, n);
    }
  });
}

inline void swiglu_pair(const execution&, view gate, view up, view y) {
  visit_float("swiglu_pair", gate.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    gate_row(gate.as<const T>(), up.as<const T>(), y.as<T>(), gate.size());
  });
}

inline void swiglu_pair_gradient(const execution&, view gate, view up, view dy, view dgate, view dup) {
  visit_float("swiglu_pair_gradient", gate.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    gate_row_gradient(gate.as<const T>(), up.as<const T>(), dy.as<const T>(), dgate.as<T>(), dup.as<T>(), gate.size());
  });
}

inline void gate_rows(const execution&, view x, view gate, view y) {
  visit_float("gate_rows", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = x.rows(), n = x.columns();
    for (index r = 0; r < rows; ++r) {
      const S factor = S(1) / (S(1) + exponential(-convert<S>(gate.as<const T>()[r])));
      const T* from = x.as<const T>() + r * n;
      T* to = y.as<T>() + r * n;
      for (index i = 0; i < n; ++i) to[i] = convert<T>(factor * convert<S>(from[i]));
    }
  });
}

inline void gate_rows_gradient(const execution&, view x, view gate, view dy, view dx, view dgate) {
  visit_float("gate_rows_gradient", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = x.rows(), n = x.columns();
    for (index r = 0; r < rows; ++r) {
      const S factor = S(1) / (S(1) + exponential(-convert<S>(gate.as<const T>()[r])));
      const T *from = x.as<const T>() + r * n, *d = dy.as<const T>() + r * n;
      T* to = dx.as<T>() + r * n;
      S total = 0;
      for (index i = 0; i < n; ++i) {
        total += convert<S>(d[i]) * convert<S>(from[i]);
        to[i] = convert<T>(factor * convert<S>(d[i]));
      }
      dgate.as<T>()[r] = convert<T>(factor * (S(1) - factor) * total);
    }
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
