#pragma once
// Rotary position embedding.
#include "plait/cpu/numbers.hpp"
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

inline void rope(const execution&, view x, view cosine, view sine, rotary_form form, bool inverse, view y) {
  visit_float("rope", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index positions = x.extent[0] * x.extent[1], heads = x.extent[2], d = x.extent[3], half = cosine.extent[2];
    const index step = form.interleaved ? 2 : 1, apart = form.interleaved ? 1 : half;
    const S sign = inverse ? S(-1) : S(1);
    for (index p = 0; p < positions; ++p) {
      const S* c = cosine.as<const S>() + p * half;
      const S* s = sine.as<const S>() + p * half;
      for (index h = 0; h < heads; ++h) {
        const T* from = x.as<const T>() + (p * heads + h) * d;
        T* to = y.as<T>() + (p * heads + h) * d;
        for (index i = 0; i < form.first; ++i) to[i] = from[i];
        for (index i = form.first + 2 * half; i < d; ++i) to[i] = from[i];
        from += form.first, to += form.first;
        for (index i = 0; i < half; ++i) {
          const S a = convert<S>(from[step * i]), b = convert<S>(from[step * i + apart]), turn = sign * s[i];
          to[step * i] = convert<T>(a * c[i] - b * turn);
          to[step * i + apart] = convert<T>(b * c[i] + a * turn);
        }
      }
    }
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
