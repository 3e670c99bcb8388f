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

/// Elements of the largest shard, over all ranks, of a tensor with these extents. Of `storage`, FSDP's cuts lie on `dim` (-1: left out).
/// -1 if an extent or a cutting axis is known at run time only.
constexpr std::int64_t largest_shard(const layout_value& compute, const layout_value& storage, int dim, int rank, const std::int64_t* extent,
                                     const int* size) {
  std::int64_t volume = 1;
  for (int d = 0; d < rank; ++d) {
    std::int64_t held = extent[d];
    for (const bool fsdp : {false, true})  // inside what the style cut
      for (int c = 0; c < storage.cuts; ++c) {
        const int atom = storage.cut[c];
        if (stores_over(compute, storage, atom) != fsdp || (fsdp ? dim : storage.at[atom].dim) != d) continue;
        if (size[atom] < 0) return -1;
        const std::int64_t sections = fsdp ? 1 : storage.at[atom].sections;
        held = sections * ceil_chunk(ceil_chunk(held, sections), size[atom]);
      }
    if (extent[d] < 0) return -1;
    volume *= held;
  }
  return volume;
}

/// Do several ranks of the style's axes cut dim `dim`?
constexpr bool shared_out(const layout_value& compute, int dim, const int* size) {
  for (int c = 0; c < compute.cuts; ++c)
    if (compute.at[compute.cut[c]].dim == dim && size[compute.cut[c]] > 1) return true;
  return false;
}

/// The dim for FSDP's cuts: the first, of dim 0 and those that the style leaves whole, under which no rank stores over an eighth more
/// than its even share; if there is none, the one with the smallest largest shard. -1 if run-time numbers decide.
constexpr int even_dim(const layout_value& compute, const layout_value& storage, int rank, const std::int64_t* extent, const int* size) {
  std::int64_t ranks = 1;
  for (int a = 0; a < storage.atoms; ++a) {
    if (!stores_over(compute, storage, a)) continue;
    if (size[a] < 0 && rank > 1) return -1;
    ranks *= size[a];
  }
  if (rank == 1 || ranks == 1) return 0;
  const std::int64_t whole = largest_shard(compute, storage, -1, rank, extent, size);
  if (whole < 0) return -1;
  std::int64_t least = 0;
  int best = 0;
  for (int d = 0; d < rank; ++d) {
    if (d > 0 && shared_out(compute, d, size)) continue;
    const std::int64_t most = largest_shard(compute, storage, d, rank, extent, size);
    if (8 * most * ranks <= 9 * whole) return d;
    if (d == 0 || most < least) least = most, best = d;
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
