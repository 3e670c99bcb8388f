#pragma once
// A mesh is an ordered list of atomic axes, outermost first: rank = ((i0 * n1) + i1) * n2 + i2 ...
#include <cstdint>

#include "plait/core/pack.hpp"
#include "plait/mesh/axis.hpp"

namespace plait::inline v0_1 {

inline constexpr int max_atoms = 8;

namespace detail {
template <class Atom>
constexpr int size_of_axis() {
  if constexpr (decltype(derives_from_axis(static_cast<Atom*>(nullptr)))::value) return Atom::size;
  else return 1;  // refused
}
template <class... Types>
constexpr bool all_different() {
  constexpr int position[sizeof...(Types) + 1] = {position_of<Types, Types...>()..., 0};
  for (int i = 0; i < static_cast<int>(sizeof...(Types)); ++i)
    if (position[i] != i) return false;
  return true;
}
template <class... Atoms, class... Wanted>
constexpr std::uint32_t mask_of(atom_list<Wanted...>*) {
  std::uint32_t bits = 0;
  ((bits |= position_of<Wanted, Atoms...>() < 0 ? 0x80000000u : 1u << (position_of<Wanted, Atoms...>() & 31)), ...);
  return bits;
}
}  // namespace detail

/// struct node : plait::mesh<dp, tp> {};
template <class... Atoms>
struct mesh {
  static_assert(sizeof...(Atoms) >= 1 && sizeof...(Atoms) <= max_atoms, "plait[mesh-axes]: a mesh has 1 to 8 atomic axes");
  static_assert((decltype(detail::derives_from_axis(static_cast<Atoms*>(nullptr)))::value && ...),
                "plait[mesh-axes]: a mesh is made of atomic axes, each a struct derived from axis<size> (or axis<dyn>); name a view's atoms");
  static_assert(detail::all_different<Atoms...>(), "plait[mesh-axes]: a mesh lists each atomic axis once; remove the repeated one");
  static constexpr int atoms = sizeof...(Atoms);
  static constexpr int sizes[sizeof...(Atoms)] = {detail::size_of_axis<Atoms>()...};

  template <class Atom>
  static constexpr int index = position_of<Atom, Atoms...>();
  template <std::size_t Position>
  using atom = nth_t<Position, Atoms...>;

  /// Bit i is set for each atom of Axis that is the mesh's i-th; the top bit if some atom is not of this mesh.
  template <class Axis>
  static constexpr std::uint32_t mask = detail::mask_of<Atoms...>(static_cast<atoms_of_t<Axis>*>(nullptr));
};

namespace detail {
template <class... As, class... Bs>
constexpr bool same_atoms(atom_list<As...>*, atom_list<Bs...>*) {
  return ((position_of<As, Bs...>() >= 0) && ...) && ((position_of<Bs, As...>() >= 0) && ...);
}
template <class... Lists>
struct concatenated;
template <class... As>
struct concatenated<atom_list<As...>> { using type = atom_list<As...>; };
template <class... As, class... Bs, class... Rest>
struct concatenated<atom_list<As...>, atom_list<Bs...>, Rest...> : concatenated<atom_list<As..., Bs...>, Rest...> {};
}  // namespace detail

template <class... Axes>
struct from {
  using atoms = typename detail::concatenated<atoms_of_t<Axes>...>::type;
};
template <class... Axes>
struct to {
  using atoms = typename detail::concatenated<atoms_of_t<Axes>...>::type;
};

/// Proof that two groups of axes name the same ranks (fsdp x tp, and efsdp x ep): refold<from<fsdp, tp>, to<efsdp, ep>>.
template <class From, class To>
struct refold {
  static constexpr bool legal =
      detail::same_atoms(static_cast<typename From::atoms*>(nullptr), static_cast<typename To::atoms*>(nullptr));
  static_assert(legal, "plait[refold-mismatch]: the two groups of axes do not cover the same ranks; "
                       "name the same atomic axes on both sides");
};

}  // namespace plait::inline v0_1
