#pragma once
// From a layout value, axis sizes and a rank's coordinates to the indices it holds.
#include "plait/placement/shard_range.hpp"
#include "plait/tensor/layout_value.hpp"

namespace plait::inline v0_1 {

/// Indices of dim `dim` (global extent `extent`) held at `coordinate[]` of a mesh with sizes `size[]`, both by atom.
constexpr index_set held_indices(const layout_value& layout, int dim, std::int64_t extent, const int* size, const int* coordinate) {
  index_set held = index_set::whole(extent);
  for (int c = 0; c < layout.cuts; ++c) {
    const int atom = layout.cut[c];
    if (layout.at[atom].dim == dim && size[atom] > 1) held = cut(held, layout.at[atom], coordinate[atom], size[atom]);
  }
  return held;
}

}  // namespace plait::inline v0_1
