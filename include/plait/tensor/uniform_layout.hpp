#pragma once
// Layouts made from layouts: one placement on every axis; pending sums reduced.
#include "plait/tensor/layout.hpp"

namespace plait::inline v0_1 {
namespace detail {

constexpr layout_value uniform(int atoms, const int* sizes, placement_value p) { return with_placement(layout_value{atoms}, ~0u, p, sizes); }
constexpr layout_value reduced(layout_value v) {
  for (int a = 0; a < v.atoms; ++a)
    if (v.at[a].kind == placement_kind::partial || v.at[a].kind == placement_kind::partial_max) v.at[a] = Invariant::value;
  return v;
}
template <class Mesh, class Placement>
struct uniform_layout {
  static constexpr layout_code code = encode(uniform(Mesh::atoms, Mesh::sizes, Placement::value));
  using type = layout_of_code_t<Mesh, code.places, code.order>;
};
template <class Layout>
struct reduced_layout {
  static constexpr layout_code code = encode(reduced(Layout::value));
  using type = layout_of_code_t<typename Layout::mesh, code.places, code.order>;
};

}  // namespace detail

/// Placement (Replicate, Invariant, Partial) on every axis of the mesh.
template <class Mesh, class Placement>
using uniform_layout_t = typename detail::uniform_layout<Mesh, Placement>::type;

/// Layout with every pending sum or maximum reduced for identical work.
template <class Layout>
using reduced_layout_t = typename detail::reduced_layout<Layout>::type;

}  // namespace plait::inline v0_1
