#pragma once
// Mesh axes are named types. An atomic axis is one factor of the rank number; a view names several atoms at once (ep over
// fsdp_inner and tp). Layouts are kept in atoms, so whether two axes overlap is decided by the atoms, never by sizes.
#include <type_traits>

namespace plait::inline v0_1 {

/// A size or extent known only at run time.
inline constexpr int dyn = -1;

/// struct tp : plait::axis<4> {};   or axis<plait::dyn>
template <int Size>
struct axis {
  static_assert(Size == dyn || Size >= 1, "plait[axis-size]: an axis has at least one rank; write a positive size or plait::dyn");
  static constexpr int size = Size;
};

/// struct ep : plait::axis_view<fsdp_inner, tp> {};   outermost atom first; one atom gives an alias.
template <class... Atoms>
struct axis_view {};

namespace detail {

template <class... Atoms>
struct atom_list {
  static constexpr int count = sizeof...(Atoms);
};

template <int Size>
std::true_type derives_from_axis(const axis<Size>*);
std::false_type derives_from_axis(...);
struct no_axis;  // in no mesh, so that what is no axis is reported as one that is not there
template <class... Atoms>
atom_list<Atoms...> atoms_of_view(const axis_view<Atoms...>*);
atom_list<no_axis> atoms_of_view(...);

template <class Axis, bool IsAtom = decltype(derives_from_axis(static_cast<Axis*>(nullptr)))::value>
struct atoms_of {
  using type = atom_list<Axis>;
};
template <class Axis>
struct atoms_of<Axis, false> {
  using type = decltype(atoms_of_view(static_cast<Axis*>(nullptr)));
};

}  // namespace detail

/// The atoms of an axis or view, as detail::atom_list<...>.
template <class Axis>
using atoms_of_t = typename detail::atoms_of<Axis>::type;

}  // namespace plait::inline v0_1
