#pragma once
// Columns taken apart and put together, heads repeated.
#include <algorithm>

#include "plait/cpu/numbers.hpp"
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

/// Columns [first, first + to.columns()) of `from` into `to`, or the other way.
template <bool Out>
void move_columns(const view& whole, const view& part, index first) {
  if (!part) return;
  const std::size_t element = size_of(whole.type);
  const std::size_t step = static_cast<std::size_t>(whole.columns()) * element, width = static_cast<std::size_t>(part.columns()) * element;
  char* w = static_cast<char*>(whole.data) + static_cast<std::size_t>(first) * element;
  char* p = static_cast<char*>(part.data);
  for (index r = 0, rows = part.rows(); r < rows; ++r, w += step, p += width) {
    if constexpr (Out) std::copy_n(w, width, p);
    else std::copy_n(p, width, w);
  }
}

inline void split_columns(const execution&, view x, view a, view b) {
  move_columns<true>(x, a, 0);
  move_columns<true>(x, b, x.columns() - (b ? b.columns() : 0));
}
inline void join_columns(const execution&, view a, view b, view x) {
  move_columns<false>(x, a, 0);
  move_columns<false>(x, b, a.columns());
}

inline void repeat_heads(const execution&, view x, std::int64_t first, std::int64_t times, view y) {
  const index rows = y.extent[0], heads = y.extent[1];
  const std::size_t width = static_cast<std::size_t>(y.extent[2]) * size_of(y.type);
  const char* from = static_cast<const char*>(x.data);
  char* to = static_cast<char*>(y.data);
  for (index r = 0; r < rows; ++r)
    for (index j = 0; j < heads; ++j, to += width)
      std::copy_n(from + static_cast<std::size_t>(r * x.extent[1] + (first + j) / times) * width, width, to);
}

inline void repeat_heads_gradient(const execution&, view dy, std::int64_t first, std::int64_t times, view dx) {
  visit_float("repeat_heads_gradient", dx.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = dx.extent[0], heads = dx.extent[1], width = dx.extent[2], copies = dy.extent[1];
    for (index r = 0; r < rows; ++r)
      for (index h = 0; h < heads; ++h) {
        const index begin = std::clamp<index>(h * times - first, 0, copies), end = std::clamp<index>((h + 1) * times - first, 0, copies);
        const T* from = dy.as<const T>() + r * copies * width;
        T* to = dx.as<T>() + (r * heads + h) * width;
        for (index c = 0; c < width; ++c) {
          S sum = 0;
          for (index j = begin; j < end; ++j) sum += convert<S>(from[j * width + c]);
          to[c] = convert<T>(sum);
        }
      }
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
