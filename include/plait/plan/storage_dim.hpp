#pragma once
// Which dim of a parameter FSDP cuts where its rule leaves that open. Dim 0 is contiguous, but experts are few: eight of them over 64
// ranks leave 56 ranks with none. A function of extents and mesh alone, so that every rank, explain and the types agree.
// (torchtitan stores grouped experts as Shard(1) where it has more ranks than experts.)
#include "plait/placement/shard_range.hpp"
#include "plait/tensor/layout_value.hpp"

namespace plait::inline v0_1::detail {

/// Does FSDP cut over this atom? It may not where the style cuts, so a difference is its doing.
constexpr bool stores_over(const layout_value& compute, const layout_value& storage, int atom) {
  return !(compute.at[atom] == storage.at[atom]);
}

/// What of dim `dim` the style leaves to a rank, the most of them all; -1 if an extent or a cutting axis is known at run time only.
constexpr std::int64_t left_by_style(const layout_value& compute, int dim, std::int64_t extent, const int* size) {
  for (int c = 0; c < compute.cuts && extent >= 0; ++c) {
    const int atom = compute.cut[c];
    const std::int64_t sections = compute.at[atom].sections;
    if (compute.at[atom].dim == dim) extent = size[atom] < 0 ? -1 : sections * ceil_chunk(ceil_chunk(extent, sections), size[atom]);
  }
  return extent;
}

/// The dim for FSDP's cuts: the first, of dim 0 and those that the style leaves whole, under which no rank stores over an eighth more
/// than its even share; if there is none, the one whose largest shard is the smallest. -1 if run-time numbers decide.
constexpr int even_dim(const layout_value& compute, const layout_value& storage, int rank, const std::int64_t* extent, const int* size) {
  std::int64_t ranks = 1;
  for (int c = 0; c < storage.cuts && rank > 1; ++c) {
    const int atom = storage.cut[c];
    if (!stores_over(compute, storage, atom)) continue;
    if (size[atom] < 0) return -1;
    ranks *= size[atom];
  }
  if (ranks == 1) return 0;
  int best = 0;
  std::int64_t best_most = 0, best_left = 1;  // largest shard and whole, of the best dim
  for (int d = 0; d < rank; ++d) {
    const std::int64_t left = left_by_style(compute, d, extent[d], size);
    if (left < 0) return -1;
    if (d > 0 && left != extent[d]) continue;
    const std::int64_t most = ceil_chunk(left, ranks);  // several axes, one inside the other, come to the same
    if (8 * most * ranks <= 9 * left) return d;
    if (d == 0 || most * best_left < best_most * left) best = d, best_most = most, best_left = left;
  }
  return best;
}

/// `storage` with FSDP's cuts on `dim`, in their order.
constexpr layout_value stored_by(const layout_value& compute, const layout_value& storage, int dim) {
  layout_builder b(storage.atoms);
  for (const bool fsdp : {false, true})
    for (int c = 0; c < storage.cuts; ++c) {
      const int atom = storage.cut[c];
      placement_value p = storage.at[atom];
      if (stores_over(compute, storage, atom) != fsdp) continue;
      if (fsdp) p.dim = static_cast<std::int8_t>(dim);
      b.place(atom, p);
    }
  for (int a = 0; a < storage.atoms; ++a)
    if (!storage.at[a].cuts()) b.place(a, storage.at[a]);
  return b.value;
}

}  // namespace plait::inline v0_1::detail
