// Axes, meshes, refolding, and layouts: equal layouts are one type, whatever the order they are written in.
#include "support.hpp"

#include <algorithm>
#include <random>
#include <type_traits>

#include "plait/mesh/mesh_shape.hpp"
#include "plait/tensor/uniform_layout.hpp"

using namespace core_test;

namespace {

struct outer : axis<2> {};
struct inner : axis<3> {};
struct tp : axis<4> {};
struct single : axis<1> {};
struct open : axis<dyn> {};
struct elsewhere : axis<2> {};
struct data : axis_view<outer, inner> {};
struct ep : axis_view<inner, tp> {};
struct efsdp : axis_view<outer> {};
struct node : mesh<outer, inner, tp, single, open> {};

template <class A, class B>
constexpr bool same = std::is_same_v<A, B>;
template <class... E>
using L = layout<node, E...>;

// ---- meshes ------------------------------------------------------------------------------------------------------------
constexpr int wrong_meshes() {
  int wrong = 0;
  wrong += node::atoms != 5 || node::sizes[0] != 2 || node::sizes[3] != 1 || node::sizes[4] != dyn;
  wrong += node::index<outer> != 0 || node::index<tp> != 2 || node::index<open> != 4 || node::index<elsewhere> != -1;
  wrong += node::mask<tp> != 0b00100u || node::mask<data> != 0b00011u || node::mask<ep> != 0b00110u || node::mask<efsdp> != 0b00001u;
  wrong += (node::mask<elsewhere> >> 31) != 1u || (node::mask<tp> >> 31) != 0u;
  wrong += !same<typename node::atom<1>, inner>;
  wrong += !same<atoms_of_t<ep>, detail::atom_list<inner, tp>> || !same<atoms_of_t<tp>, detail::atom_list<tp>>;
  return wrong;
}

template <class From, class To>
constexpr bool covers_the_same = detail::same_atoms(static_cast<typename From::atoms*>(nullptr), static_cast<typename To::atoms*>(nullptr));
constexpr int wrong_refolds() {
  int wrong = 0;
  wrong += !refold<from<data, tp>, to<efsdp, ep>>::legal;  // fsdp x tp and efsdp x ep are the same ranks
  wrong += !refold<from<outer, inner>, to<inner, outer>>::legal;
  wrong += !refold<from<tp>, to<tp>>::legal;
  wrong += covers_the_same<from<data, tp>, to<efsdp, inner>>;  // tp is missing
  wrong += covers_the_same<from<data>, to<data, tp>>;          // tp is too many
  wrong += covers_the_same<from<outer>, to<elsewhere>>;        // equal sizes are not equal axes
  return wrong;
}

constexpr int wrong_shapes() {
  int wrong = 0;
  mesh_shape m = shape_of<node>();
  wrong += m.atoms != 5 || m.size[0] != 2 || m.size[1] != 3 || m.size[2] != 4 || m.size[3] != 1 || m.size[4] != dyn;
  m.size[4] = 2;
  wrong += m.ranks() != 48 || m.group_size(0b00011u) != 6 || m.group_size(0b10100u) != 8 || m.group_size(0) != 1;
  int at[max_atoms] = {};
  for (int r = 0; r < m.ranks(); ++r) {
    m.coordinates(r, at);
    wrong += m.rank_of(at) != r;
    for (int a = 0; a < m.atoms; ++a) wrong += at[a] < 0 || at[a] >= m.size[a];
  }
  m.coordinates(1, at);  // the last axis runs fastest
  wrong += at[4] != 1 || at[2] != 0;
  return wrong;
}

// ---- layout types ------------------------------------------------------------------------------------------------------
constexpr int wrong_normal_forms() {
  int wrong = 0;
  // cuts of different dims commute; cuts of one dim do not
  wrong += !same<L<on<tp, Shard<1>>, on<outer, Shard<0>>>, L<on<outer, Shard<0>>, on<tp, Shard<1>>>>;
  wrong += same<L<on<tp, Shard<0>>, on<outer, Shard<0>>>, L<on<outer, Shard<0>>, on<tp, Shard<0>>>>;
  // Replicate and statically single axes are not there; dyn axes are
  wrong += !same<L<on<tp, Replicate>>, L<>> || !same<L<on<single, Shard<0>>>, L<>> || !same<L<on<single, Partial>, on<tp, Shard<0>>>, L<on<tp, Shard<0>>>>;
  wrong += same<L<on<open, Shard<0>>>, L<>> || same<L<on<tp, Invariant>>, L<>>;
  // a view is its atoms, in its order
  wrong += !same<L<on<data, Shard<0>>>, L<on<outer, Shard<0>>, on<inner, Shard<0>>>>;
  wrong += !same<L<on<data, Partial>>, L<on<inner, Partial>, on<outer, Partial>>>;
  wrong += !same<L<on<efsdp, Shard<2>>>, L<on<outer, Shard<2>>>>;
  // uncut entries come after the cuts, in mesh order
  wrong += !same<L<on<tp, Partial>, on<outer, Invariant>, on<inner, Shard<0>>>,
                 laid_out<node, on<inner, Shard<0>>, on<outer, Invariant>, on<tp, Partial>>>;
  wrong += !same<L<on<tp, Shard<1>>, on<inner, StridedShard<0, 2>>, on<outer, Shard<0>>>,
                 laid_out<node, on<inner, StridedShard<0, 2>>, on<outer, Shard<0>>, on<tp, Shard<1>>>>;
  // the canonical type is a fixed point
  using X = L<on<tp, Shard<1>>, on<outer, Shard<0>>, on<open, Partial>>;
  wrong += !same<layout_of_code_t<node, X::code.places, X::code.order>, X>;
  return wrong;
}

constexpr int wrong_values() {
  int wrong = 0;
  using X = L<on<tp, Shard<1>>, on<outer, Shard<0>>, on<inner, Shard<0>>, on<open, Partial>>;
  constexpr layout_value v = X::value;
  wrong += v.atoms != 5 || v.cuts != 3 || v.cut[0] != 0 || v.cut[1] != 1 || v.cut[2] != 2;
  wrong += !(v.at[4] == P) || !(v.at[3] == R) || !(v.at[2] == S1);
  wrong += !v.cuts_dim(0) || !v.cuts_dim(1) || v.cuts_dim(2);
  wrong += !(v == v);
  layout_builder order_a(2), order_b(2);
  order_a.place(0, S0), order_a.place(1, S0);
  order_b.place(1, S0), order_b.place(0, S0);
  wrong += order_a.value == order_b.value;
  return wrong;
}

constexpr int wrong_gradients() {
  int wrong = 0;
  using X = L<on<tp, Shard<1>>, on<outer, Invariant>>;  // inner and open are Replicate
  using G = grad_layout_t<X>;
  wrong += !same<G, L<on<tp, Shard<1>>, on<outer, Invariant>, on<inner, Partial>, on<open, Partial>>>;
  wrong += !same<grad_layout_t<G>, X>;
  using Y = L<on<open, Shard<0>>, on<tp, Shard<0>>, on<inner, Partial>>;
  wrong += !same<grad_layout_t<Y>, L<on<open, Shard<0>>, on<tp, Shard<0>>, on<outer, Partial>>>;
  wrong += !same<grad_layout_t<grad_layout_t<Y>>, Y> || !same<grad_layout_t<grad_layout_t<L<>>>, L<>>;
  // a statically single rank stays Replicate, so that tp = 1 gives the types of one device
  wrong += !(G::value.at[3] == R);
  return wrong;
}

constexpr int wrong_uniform() {
  int wrong = 0;
  using everywhere_partial = uniform_layout_t<node, Partial>;
  wrong += !same<everywhere_partial, L<on<outer, Partial>, on<inner, Partial>, on<tp, Partial>, on<open, Partial>>>;
  wrong += !same<uniform_layout_t<node, Replicate>, L<>>;
  wrong += !same<reduced_layout_t<L<on<tp, Partial>, on<inner, PartialMax>, on<outer, Shard<0>>>>,
                 L<on<outer, Shard<0>>, on<inner, Invariant>, on<tp, Invariant>>>;
  return wrong;
}

constexpr int wrong_extents() {
  int wrong = 0;
  using X = sharded<float, extents<12, 8, dyn>, L<on<outer, Shard<0>>, on<inner, Shard<0>>, on<tp, Shard<1>>>>;
  wrong += X::rank != 3 || X::local_extent(0) != 2 || X::local_extent(1) != 2 || X::local_extent(2) != dyn;
  wrong += !same<decltype(X::local_extents()), extents<2, 2, dyn>>;
  using uneven = sharded<float, extents<10, 8>, L<on<inner, Shard<0>>, on<open, Shard<1>>>>;
  wrong += uneven::local_extent(0) != dyn || uneven::local_extent(1) != dyn;
  wrong += !compatible(3, 3) || !compatible(3, dyn) || !compatible(dyn, 3) || compatible(3, 4);
  wrong += !extents<1, 2>::all_static || extents<1, dyn>::all_static;
  return wrong;
}

constexpr int wrong_statistics_of_specs() {
  int wrong = 0;
  using e = detail::spec_error;
  wrong += detail::read_spec<node, on<tp, Shard<0>>>().error != e::none;
  wrong += detail::read_spec<node, on<elsewhere, Shard<0>>>().error != e::not_in_mesh;
  wrong += detail::read_spec<node, on<tp, Shard<0>>, on<tp, Shard<1>>>().error != e::twice;
  wrong += detail::read_spec<node, on<tp, Shard<0>>, on<ep, Shard<1>>>().error != e::overlap;
  wrong += detail::read_spec<node, on<data, Shard<0>>, on<efsdp, Shard<1>>>().error != e::overlap;
  wrong += detail::read_spec<node, on<data, Shard<0>>, on<tp, Shard<1>>>().error != e::none;
  return wrong;
}

}  // namespace

TEST_CASE("mesh: atoms, views, masks, refolding") {
  PLAIT_TWICE(wrong_meshes);
  PLAIT_TWICE(wrong_refolds);
  PLAIT_TWICE(wrong_shapes);
}

TEST_CASE("layout: one type for one layout") {
  PLAIT_TWICE(wrong_normal_forms);
  PLAIT_TWICE(wrong_values);
  PLAIT_TWICE(wrong_uniform);
  PLAIT_TWICE(wrong_statistics_of_specs);
}

TEST_CASE("layout: the gradient's layout is an involution") { PLAIT_TWICE(wrong_gradients); }

TEST_CASE("layout: local extents follow") { PLAIT_TWICE(wrong_extents); }

TEST_CASE("layout: any layout survives its code") {
  std::mt19937 random(20240611);
  const placement_value choice[] = {R, I, S0, S1, S2, S3, Q0, Q1, {k::strided_shard, 2, 4}, {k::strided_shard, 1, 3}, P, M, V};
  int wrong = 0;
  for (int i = 0; i < 3000; ++i) {
    const int atoms = 1 + static_cast<int>(random() % max_atoms);
    layout_builder b(atoms);
    int order[max_atoms];
    for (int a = 0; a < atoms; ++a) order[a] = a;
    std::shuffle(order, order + atoms, random);
    for (int a = 0; a < atoms; ++a) b.place(order[a], choice[random() % std::size(choice)]);
    const detail::layout_code code = detail::encode(b.value);
    layout_builder again(atoms);
    const detail::entry_list entries = detail::entries_of(code.places, code.order, atoms);
    for (int e = 0; e < entries.count; ++e) again.place(entries.atom[e], detail::decode_place(code.places, entries.atom[e]));
    wrong += !(again.value == b.value);
    wrong += !(grad_of(grad_of(b.value)) == b.value);
    for (int c = 1; c < b.value.cuts; ++c) wrong += b.value.at[b.value.cut[c - 1]].dim > b.value.at[b.value.cut[c]].dim;
  }
  CHECK(wrong == 0);
}
