#pragma once
// Rotary position embedding.
#include "plait/cpu/numbers.hpp"
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

inline void rope(const execution&, view x, view cosine, view sine, bool inverse, view y) {
  visit_float("rope", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index positions = x.extent[0] * x.extent[1], heads = x.extent[2], d = x.extent[3], half = d / 2;
    const S sign = inverse ? S(-1) : S(1);
    for (index p = 0; p < positions; ++p) {
      const S* c = cosine.as<const S>() + p * half;
      const S* s = sine.as<const S>() + p * half;
      for (index h = 0; h < heads; ++h) {
        const T* from = x.as<const T>() + (p * heads + h) * d;
        T* to = y.as<T>() + (p * heads + h) * d;
        for (index i = 0; i < half; ++i) {
          const S a = convert<S>(from[i]), b = convert<S>(from[i + half]), turn = sign * s[i];
          to[i] = convert<T>(a * c[i] - b * turn);
          to[i + half] = convert<T>(b * c[i] + a * turn);
        }
      }
    }
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
