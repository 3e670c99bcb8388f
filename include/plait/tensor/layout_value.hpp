#pragma once
// A layout as a value: one placement per atomic axis of a mesh, and the order in which the cutting axes cut. All rules work on
// this; the type `laid_out<Mesh, on<Axis, Placement>...>` is only its printed form.
#include <cstdint>

#include "plait/mesh/mesh.hpp"
#include "plait/placement/placement.hpp"

namespace plait::inline v0_1 {

inline constexpr int max_dims = 8;  // that a layout can speak of

struct layout_value {
  int atoms = 0;
  placement_value at[max_atoms] = {};  // by position of the atom in the mesh
  int cuts = 0;
  std::int8_t cut[max_atoms] = {};     // atoms that cut a dim, ascending by dim, outermost cut first within a dim

  constexpr bool cuts_dim(int dim) const {
    for (int c = 0; c < cuts; ++c)
      if (at[cut[c]].dim == dim) return true;
    return false;
  }
  /// Does every cut name a dim of a tensor of `rank` dims?
  constexpr bool fits_rank(int rank) const {
    for (int c = 0; c < cuts; ++c)
      if (at[cut[c]].dim < 0 || at[cut[c]].dim >= rank) return false;
    return true;
  }
  constexpr bool operator==(const layout_value& other) const {
    if (atoms != other.atoms || cuts != other.cuts) return false;
    for (int a = 0; a < atoms; ++a)
      if (!(at[a] == other.at[a])) return false;
    for (int c = 0; c < cuts; ++c)
      if (cut[c] != other.cut[c]) return false;
    return true;
  }
};

/// Collects (atom, placement) pairs, outermost cut first, and puts them in canonical order: cuts sorted stably by dim.
struct layout_builder {
  layout_value value{};
  constexpr explicit layout_builder(int atoms) { value.atoms = atoms; }

  constexpr void place(int atom, placement_value p) {
    value.at[atom] = p;
    if (!p.cuts()) return;
    int position = value.cuts++;
    while (position > 0 && value.at[value.cut[position - 1]].dim > p.dim) {
      value.cut[position] = value.cut[position - 1];
      --position;
    }
    value.cut[position] = static_cast<std::int8_t>(atom);
  }
};

/// The gradient's layout: grad_of, axis by axis. Nothing else decides a gradient's placement. A statically single rank
/// (static_size[a] == 1; null: none) stays Replicate, since there all uncut placements are one.
constexpr layout_value grad_of(const layout_value& layout, const int* static_size = nullptr) {
  layout_value g = layout;
  for (int a = 0; a < g.atoms; ++a)
    if (static_size == nullptr || static_size[a] != 1) g.at[a] = grad_of(g.at[a]);
  return g;
}

/// `layout` with `p` on the axes in the mask `axes`, where it cuts inside those that stay. A statically single rank (static_size[a] == 1;
/// null: none) takes no placement.
constexpr layout_value with_placement(const layout_value& layout, std::uint32_t axes, placement_value p, const int* static_size = nullptr) {
  const auto placed = [&](int a) { return (axes >> a & 1u) != 0; };
  layout_builder b(layout.atoms);
  for (int c = 0; c < layout.cuts; ++c)
    if (!placed(layout.cut[c])) b.place(layout.cut[c], layout.at[layout.cut[c]]);
  for (int a = 0; a < layout.atoms; ++a) {
    if (placed(a)) {
      if (static_size == nullptr || static_size[a] != 1) b.place(a, p);
    } else if (!layout.at[a].cuts()) {
      b.place(a, layout.at[a]);
    }
  }
  return b.value;
}

namespace detail {

struct layout_code {
  std::uint64_t places = 0, order = 0;
};
constexpr layout_code encode(const layout_value& v) {
  layout_code code;
  for (int a = 0; a < v.atoms; ++a) {
    const std::uint64_t one = static_cast<std::uint64_t>(v.at[a].kind) | static_cast<std::uint64_t>(v.at[a].dim) << 3 |
                              static_cast<std::uint64_t>(v.at[a].sections - 1) << 6;
    code.places |= one << (8 * a);
  }
  for (int c = 0; c < v.cuts; ++c) code.order |= static_cast<std::uint64_t>(v.cut[c] + 1) << (4 * c);
  return code;
}
constexpr placement_value decode_place(std::uint64_t places, int atom) {
  const unsigned bits = static_cast<unsigned>(places >> (8 * atom)) & 0xffu;
  return {static_cast<placement_kind>(bits & 7u), static_cast<std::int8_t>((bits >> 3) & 7u),
          static_cast<std::int8_t>((bits >> 6) + 1u)};
}
/// Atoms with an entry in the printed list: cuts in their order, then the uncut non-replicated ones in mesh order.
struct entry_list {
  int count = 0;
  int atom[max_atoms] = {};
};
constexpr entry_list entries_of(std::uint64_t places, std::uint64_t order, int atoms) {
  entry_list list;
  for (int c = 0; c < max_atoms && (order >> (4 * c) & 15u) != 0; ++c)
    list.atom[list.count++] = static_cast<int>(order >> (4 * c) & 15u) - 1;
  for (int a = 0; a < atoms; ++a) {
    const placement_value p = decode_place(places, a);
    if (!p.cuts() && p.kind != placement_kind::replicate) list.atom[list.count++] = a;
  }
  return list;
}

}  // namespace detail
}  // namespace plait::inline v0_1
