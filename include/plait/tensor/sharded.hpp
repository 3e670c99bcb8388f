#pragma once
// A sharded tensor as a type: element, global extents, layout. What a rank holds follows.
#include <utility>

#include "plait/tensor/extents.hpp"
#include "plait/tensor/layout.hpp"

namespace plait::inline v0_1 {

template <class Element, class Extents, class Layout>
struct sharded {
  using element = Element;
  using extents_type = Extents;
  using layout_type = Layout;
  using mesh = typename Layout::mesh;
  static constexpr int rank = Extents::rank;
  static_assert(sizeof(check::a_named_dim_is_there<Layout::value.fits_rank(rank), Extents, Layout>) > 0);  // for its own message alone

  /// Extent of dim Dim on one rank; dyn where an extent or an axis size is not known, or ranks differ.
  static constexpr int local_extent(int dim) {
    int extent = Extents::value[dim];
    if (extent == dyn) return dyn;
    for (int c = 0; c < Layout::value.cuts; ++c) {
      const int atom = Layout::value.cut[c];
      if (Layout::value.at[atom].dim != dim) continue;
      if (mesh::sizes[atom] == dyn || extent % mesh::sizes[atom] != 0) return dyn;
      extent /= mesh::sizes[atom];
    }
    return extent;
  }
  static constexpr auto local_extents() { return local(std::make_index_sequence<static_cast<std::size_t>(rank)>{}); }

 private:
  template <std::size_t... Dims>
  static constexpr auto local(std::index_sequence<Dims...>) {
    return extents<local_extent(static_cast<int>(Dims))...>{};
  }
};

}  // namespace plait::inline v0_1
