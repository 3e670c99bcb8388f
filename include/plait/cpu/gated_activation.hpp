#pragma once
// Gated activations other than plain SwiGLU: clamped, with alternating columns.
#include "plait/cpu/lanes.hpp"
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

template <class S>
struct gate_terms {
  S gate, up, sigmoid;
  bool gate_free, up_free;  // not clamped

  gate_terms(S g, S u, const gated_options& o) : gate(g), up(u) {
    const S limit = static_cast<S>(o.limit);
    gate_free = o.limit == 0 || !(g > limit);  // a NaN stays one
    up_free = o.limit == 0 || !(u > limit || u < -limit);
    if (!gate_free) gate = limit;
    if (!up_free) up = u > limit ? limit : -limit;
    sigmoid = S(1) / (S(1) + exponential(-static_cast<S>(o.alpha) * gate));
    up += static_cast<S>(o.offset);
  }
};

/// Calls body(row, column, offset of the gate, offset of up) for every pair of a packed row.
template <class F>
void for_pairs(const view& packed, const gated_options& o, const F& body) {
  const index rows = packed.rows(), n = packed.columns() / 2;
  for (index r = 0; r < rows; ++r)
    for (index i = 0; i < n; ++i) {
      const index first = r * 2 * n + (o.interleaved ? 2 * i : i);
      body(r * n + i, first, first + (o.interleaved ? 1 : n));
    }
}

inline void gated(const view& packed, const gated_options& o, const view& y) {
  visit_float("swiglu", packed.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const T* from = packed.as<const T>();
    for_pairs(packed, o, [&](index at, index g, index u) {
      const gate_terms<S> t(convert<S>(from[g]), convert<S>(from[u]), o);
      y.as<T>()[at] = convert<T>(t.up * (t.gate * t.sigmoid));
    });
  });
}

inline void gated_gradient(const view& packed, const view& dy, const gated_options& o, const view& dpacked) {
  visit_float("swiglu_gradient", packed.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const T* from = packed.as<const T>();
    for_pairs(packed, o, [&](index at, index g, index u) {
      const gate_terms<S> t(convert<S>(from[g]), convert<S>(from[u]), o);
      const S d = convert<S>(dy.as<const T>()[at]), slope = t.sigmoid * (S(1) + static_cast<S>(o.alpha) * t.gate * (S(1) - t.sigmoid));
      dpacked.as<T>()[g] = convert<T>(t.gate_free ? d * t.up * slope : S(0));
      dpacked.as<T>()[u] = convert<T>(t.up_free ? d * (t.gate * t.sigmoid) : S(0));
    });
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
