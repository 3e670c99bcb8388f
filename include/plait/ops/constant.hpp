#pragma once
// Tensors from host memory that every rank has whole: inputs, tables, masks.
#include "plait/ops/tensor.hpp"
#include "plait/runtime/transfer.hpp"

namespace plait::inline v0_1 {
namespace detail {
/// A value that every rank knows can be a copy or a piece, but no addend and no ragged rows.
constexpr bool whole_or_cut(const layout_value& v) {
  for (int a = 0; a < v.atoms; ++a)
    if (!v.at[a].cuts() && v.at[a].kind != placement_kind::replicate && v.at[a].kind != placement_kind::invariant) return false;
  return true;
}
}  // namespace detail

/// This rank's part, under Layout, of a host array of the given global extents.
template <class Layout, class Element, class Extents>
tensor<Element, Extents, Layout> constant(context& c, const Element* values, const std::int64_t* global) {
  constexpr int rank = Extents::rank;
  static_assert(check::the_layout_is_the_one_wanted<detail::whole_or_cut(Layout::value), Layout>::ok);
  for (int d = 0; d < rank; ++d)
    if (Extents::value[d] != dyn && Extents::value[d] != global[d]) throw std::invalid_argument("plait[extent-mismatch]: constant: the extents are not those of the type");
  array a = detail::make_array(c, dtype_of<Element>(), rank, global, Layout::value);
  view whole = a.local;
  for (int d = 0; d < rank; ++d) whole.extent[d] = global[d];
  detail::index_sets all;
  for (int d = 0; d < rank; ++d) all[static_cast<std::size_t>(d)] = index_set::whole(global[d]);
  const detail::index_sets mine = detail::holdings(Layout::value, whole, global, c.mesh, c.coordinate);
  detail::copy_part(c, mine, all, values, mine, a.local.data, rank, sizeof(Element));
  return tensor<Element, Extents, Layout>(std::move(a));
}

/// The same where all extents are static.
template <class Layout, class Element, class Extents>
  requires(Extents::all_static)
tensor<Element, Extents, Layout> constant(context& c, const Element* values) {
  std::int64_t global[max_rank] = {};
  for (int d = 0; d < Extents::rank; ++d) global[d] = Extents::value[d];
  return constant<Layout, Element, Extents>(c, values, global);
}

}  // namespace plait::inline v0_1
