#pragma once
// Layout types. Users write layout<node, on<ep, Shard<0>>, on<efsdp, Shard<0>>>: outermost cut first, views allowed, axes not
// named are Replicate. The alias yields the canonical type laid_out<...>, so that equal layouts are the same type.
#include <utility>

#include "plait/core/check.hpp"
#include "plait/core/pack.hpp"
#include "plait/mesh/mesh.hpp"
#include "plait/tensor/layout_value.hpp"

namespace plait::inline v0_1 {

template <class Axis, class Placement>
struct on {
  using axis = Axis;
  using placement = Placement;
};

/// Canonical layout: what compilers print.
template <class Mesh, class... Entries>
struct laid_out;

namespace detail {

template <class T>
concept layout_mesh = requires { T::atoms; T::sizes; };
template <class Entry>
concept layout_entry = requires(placement_value p) {
  typename Entry::axis;
  p = Entry::placement::value;
};

enum class spec_error { none, not_in_mesh, twice, overlap };

template <class Mesh>
struct spec_reader {
  layout_builder builder{Mesh::atoms};
  enum class owner : unsigned char { none, itself, view } taken[max_atoms] = {};
  spec_error error = spec_error::none;

  template <class Atom>
  constexpr void atom(placement_value p, owner by) {
    constexpr int index = Mesh::template index<Atom>;
    if constexpr (index < 0) {
      error = spec_error::not_in_mesh;
    } else {
      if (taken[index] != owner::none) {
        if (error == spec_error::none)
          error = by == owner::itself && taken[index] == by ? spec_error::twice : spec_error::overlap;
        return;
      }
      taken[index] = by;
      if (Mesh::sizes[index] != 1) builder.place(index, p);  // a statically single rank is always Replicate
    }
  }
  template <class Axis, class... Atoms>
  constexpr void view(placement_value p, atom_list<Atoms...>*) {
    constexpr bool itself = sizeof...(Atoms) == 1 && (std::is_same_v<Axis, Atoms> && ...);
    (atom<Atoms>(p, itself ? owner::itself : owner::view), ...);
  }
};

template <class Mesh, class... Entries>
constexpr spec_reader<Mesh> read_spec() {
  spec_reader<Mesh> reader;
  (reader.template view<typename Entries::axis>(Entries::placement::value,
                                                static_cast<atoms_of_t<typename Entries::axis>*>(nullptr)),
   ...);
  return reader;
}

template <class Mesh, std::uint64_t Places, std::uint64_t Order>
struct layout_of_code {
  static constexpr entry_list entries = entries_of(Places, Order, Mesh::atoms);
  template <int Position>
  static constexpr int atom = entries.atom[Position];
  template <int Atom>
  using placement = typename placement_of_scalars<static_cast<int>(decode_place(Places, Atom).kind),
                                                  static_cast<int>(decode_place(Places, Atom).dim),
                                                  static_cast<int>(decode_place(Places, Atom).sections)>::type;
  template <std::size_t... Positions>
  static laid_out<Mesh, on<typename Mesh::template atom<static_cast<std::size_t>(atom<Positions>)>, placement<atom<Positions>>>...>
  build(std::index_sequence<Positions...>);
  using type = decltype(build(std::make_index_sequence<static_cast<std::size_t>(entries.count)>{}));
};

/// What is no layout, reported; in its place one without entries.
template <bool Formed, class Mesh, class... Entries>
struct canonical {
  static_assert(sizeof(check::a_layout_is_a_mesh_and_entries<false, Mesh, Entries...>) > 0);  // for its own message alone
  using type = laid_out<std::conditional_t<layout_mesh<Mesh>, Mesh, mesh<axis<1>>>>;
};
template <class Mesh, class... Entries>
struct canonical<true, Mesh, Entries...> {
  static constexpr spec_reader<Mesh> reader = read_spec<Mesh, Entries...>();
  static constexpr bool has_dims = reader.builder.value.fits_rank(max_dims);
  static_assert(sizeof(check::every_axis_is_in_the_mesh<reader.error != spec_error::not_in_mesh, Mesh, Entries...>) > 0);
  static_assert(sizeof(check::an_axis_is_used_once<reader.error != spec_error::twice, Mesh, Entries...>) > 0);
  static_assert(sizeof(check::axes_share_no_ranks<reader.error != spec_error::overlap, Mesh, Entries...>) > 0);
  static_assert(sizeof(check::a_named_dim_is_there<has_dims, Mesh, Entries...>) > 0);
  static constexpr layout_code code = reader.error == spec_error::none && has_dims ? encode(reader.builder.value) : layout_code{};
  using type = typename layout_of_code<Mesh, code.places, code.order>::type;
};

}  // namespace detail

template <class Mesh, class... Entries>
using layout = typename detail::canonical<detail::layout_mesh<Mesh> && (detail::layout_entry<Entries> && ...), Mesh, Entries...>::type;

/// Type of a computed layout value (Places, Order from detail::encode).
template <class Mesh, std::uint64_t Places, std::uint64_t Order>
using layout_of_code_t = typename detail::layout_of_code<Mesh, Places, Order>::type;

template <class Mesh, class... Entries>
struct laid_out {
  using mesh = Mesh;
  static constexpr layout_value value = detail::read_spec<Mesh, Entries...>().builder.value;
  static constexpr detail::layout_code code = detail::encode(value);
};

namespace detail {
/// The layout that a value of layout From is to have: From where something else than a layout is named.
template <class Target, class From>
struct target {
  static_assert(sizeof(check::a_layout_is_a_mesh_and_entries<false, Target>) > 0);  // for its own message alone
  using type = From;
};
template <class Mesh, class... Entries, class From>
struct target<laid_out<Mesh, Entries...>, From> {
  using type = laid_out<Mesh, Entries...>;
};
template <class Target, class From>
using target_t = typename target<Target, From>::type;
}  // namespace detail

/// The layout type of the gradient.
template <class Layout>
struct grad_layout {
  static constexpr detail::layout_code code = detail::encode(grad_of(Layout::value, Layout::mesh::sizes));
  using type = layout_of_code_t<typename Layout::mesh, code.places, code.order>;
};
template <class Layout>
using grad_layout_t = typename grad_layout<Layout>::type;

}  // namespace plait::inline v0_1
