#pragma once
// Tensor extents: static numbers or plait::dyn, as in mdspan. Static ones are compared at compile time, dynamic ones at run time.
#include <cstdint>

#include "plait/mesh/axis.hpp"

namespace plait::inline v0_1 {

template <int... Sizes>
struct extents {
  static constexpr int rank = sizeof...(Sizes);
  static constexpr int value[sizeof...(Sizes) + 1] = {Sizes..., 0};
  static constexpr bool all_static = ((Sizes != dyn) && ...);

  friend constexpr bool operator==(extents, extents) { return true; }
};

/// Equal, as far as both are known.
constexpr bool compatible(int a, int b) { return a == dyn || b == dyn || a == b; }

}  // namespace plait::inline v0_1
