#pragma once
// The typed tensor: a thin shell over an array. Its type says element, global extents and layout; ops are chosen and checked on
// that, then work on the array.
#include <cstdint>
#include <stdexcept>

#include "plait/core/check.hpp"
#include "plait/runtime/array.hpp"
#include "plait/runtime/bfloat16.hpp"
#include "plait/tensor/sharded.hpp"
#include "plait/typing/result.hpp"

namespace plait::inline v0_1 {

template <class Element>
constexpr dtype dtype_of();
template <>
constexpr dtype dtype_of<float>() { return dtype::f32; }
template <>
constexpr dtype dtype_of<double>() { return dtype::f64; }
template <>
constexpr dtype dtype_of<bfloat16>() { return dtype::bf16; }
template <>
constexpr dtype dtype_of<std::int32_t>() { return dtype::i32; }
template <>
constexpr dtype dtype_of<std::int64_t>() { return dtype::i64; }
template <>
constexpr dtype dtype_of<std::uint8_t>() { return dtype::u8; }

template <class Element>
struct statistic { using type = float; };
template <>
struct statistic<double> { using type = double; };
/// Element type of row statistics, losses and softmax sums.
template <class Element>
using statistic_t = typename statistic<Element>::type;

namespace detail {
template <class A, class B>
constexpr bool extents_compatible() {
  if (A::rank != B::rank) return false;
  for (int d = 0; d < A::rank; ++d)
    if (!compatible(A::value[d], B::value[d])) return false;
  return true;
}
constexpr bool is_pending(placement_value p) { return p.kind == placement_kind::partial || p.kind == placement_kind::partial_max; }
/// Whether ranks hold parts of a value. On an axis of one rank the part is all of it.
template <class Layout>
constexpr bool pending_somewhere() {
  for (int a = 0; a < Layout::value.atoms; ++a)
    if (Layout::mesh::sizes[a] != 1 && is_pending(Layout::value.at[a])) return true;
  return false;
}
/// Layout, element and extents of an array are those that a tensor's type states (extent: dyn where it states none).
inline void require_type(const array& a, dtype type, int rank, const int* extent, const layout_value& layout) {
  bool fits = a.type() == type && a.rank() == rank && a.layout == layout;
  for (int d = 0; d < rank && fits; ++d) fits = extent[d] == dyn || extent[d] == a.global[d];
  if (!fits) throw std::logic_error("plait[placement-mismatch]: an array has another layout, element type or shape than the tensor's type states");
}
}  // namespace detail

template <class Element, class Extents, class Layout>
class tensor : public sharded<Element, Extents, Layout> {
 public:
  using type = sharded<Element, Extents, Layout>;
  using element = Element;
  using extents_type = Extents;
  using layout_type = Layout;
  using mesh = typename Layout::mesh;
  static constexpr int rank = Extents::rank;

  tensor() = default;
  /// An array as what it is: its layout, element and extents must be the type's.
  explicit tensor(array a) : array_(std::move(a)) { detail::require_type(array_, dtype_of<Element>(), rank, Extents::value, Layout::value); }

  /// Taking a tensor of another layout is an error with a sentence, not "no conversion": redistribute says which collective.
  template <class OtherElement, class OtherExtents, class OtherLayout>
  tensor(const tensor<OtherElement, OtherExtents, OtherLayout>& other) {
    constexpr bool one_mesh = std::is_same_v<typename OtherLayout::mesh, mesh>;
    constexpr bool ok = check::elements_agree<std::is_same_v<Element, OtherElement>, Element, OtherElement>::ok &&
                        check::operands_share_one_mesh<one_mesh, OtherLayout, Layout>::ok &&
                        check::the_layout_is_the_one_wanted<(!one_mesh || OtherLayout::value == Layout::value), OtherLayout, Layout>::ok &&
                        check::extents_agree<detail::extents_compatible<OtherExtents, Extents>(), OtherExtents, Extents>::ok;
    if constexpr (ok) {
      for (int d = 0; d < rank; ++d)  // an extent that was known at run time only becomes one that the type states
        if (Extents::value[d] != dyn && OtherExtents::value[d] == dyn && other.data().global[d] != Extents::value[d])
          throw std::invalid_argument("plait[extent-mismatch]: a tensor's extent is not the one that its new type states");
      array_ = other.data();
    }
  }

  array& data() { return array_; }
  const array& data() const { return array_; }
  /// Local memory of this rank, row-major, on the device that ops run on. values_of and value_of (ops/values.hpp) bring values to the host.
  Element* local() const {
    static_assert(sizeof(check::a_pending_sum_is_not_read<!detail::pending_somewhere<Layout>(), tensor>) > 0);
    return static_cast<Element*>(array_.local.data);
  }
  std::int64_t local_size() const { return array_.local.size(); }
  std::int64_t extent(int dim) const { return array_.global[dim]; }

 private:
  array array_{};
};

/// Does x already have this layout?
template <class X, class Layout>
inline constexpr bool same_layout = X::layout_type::value == Layout::value;

/// A gradient's type is a function of the value's type.
template <class X>
using grad_t = tensor<typename X::element, typename X::extents_type, grad_layout_t<typename X::layout_type>>;

/// Undefined on purpose: `plait::show<decltype(x)> _;` makes the compiler print the type.
template <class T>
struct show;

namespace detail {

/// The rule behind a typing error. A class, not a function, and by number, not by enumerator: both keep compilers' messages short.
template <int Error>
struct rule_of;
#define PLAIT_RULE(error, rule)                                    \
  template <>                                                      \
  struct rule_of<static_cast<int>(type_error::error)> {            \
    template <class... Context>                                    \
    using broken = check::rule<false, Context...>;                 \
  }
PLAIT_RULE(partial_nonlinear, a_pending_sum_cannot_pass_a_nonlinear_op);
PLAIT_RULE(partial_times_partial, two_pending_sums_cannot_be_multiplied);
PLAIT_RULE(partial_plus_replicate, a_replicated_value_cannot_join_a_pending_sum);
PLAIT_RULE(invariant_mixed, an_invariant_value_meets_only_invariant_ones);
PLAIT_RULE(contraction_mismatch, the_contracted_dim_is_cut_alike);
PLAIT_RULE(axis_cuts_twice, an_axis_is_used_once);
PLAIT_RULE(placement_mismatch, the_layout_is_the_one_wanted);
PLAIT_RULE(packed_mismatch, packed_dims_are_cut_section_by_section);
PLAIT_RULE(row_cut, row_local_ops_see_whole_rows);
PLAIT_RULE(tokens_cut_over_experts, experts_see_all_tokens_of_their_axis);
PLAIT_RULE(tokens_half_cut, tokens_are_cut_over_all_experts_or_none);
PLAIT_RULE(rows_with_experts, rows_return_to_their_tokens);
PLAIT_RULE(not_differentiable, a_maximum_has_no_gradient);
PLAIT_RULE(not_innermost, only_the_innermost_cut_moves);
PLAIT_RULE(no_single_collective, one_collective_joins_these_placements);
PLAIT_RULE(adjoint_only, this_move_exists_only_as_an_adjoint);
PLAIT_RULE(reshape_cut, a_reshape_keeps_cut_dims_whole);
#undef PLAIT_RULE

template <class Mesh, int Atom>
struct axis_named {
  using type = typename Mesh::template atom<static_cast<std::size_t>(Atom)>;
};
template <class Mesh>
struct axis_named<Mesh, -1> {
  using type = void;
};

template <class T>
struct mesh_of {
  using type = typename T::layout_type::mesh;
};
template <class Mesh, class... Entries>
struct mesh_of<laid_out<Mesh, Entries...>> {
  using type = Mesh;
};

struct accepted {
  static constexpr bool ok = true;
};
template <int Error, class Axis, class... Operands>
struct rule_named {
  using type = typename rule_of<Error>::template broken<Axis, Operands...>;
};
template <class Axis, class... Operands>
struct rule_named<static_cast<int>(type_error::none), Axis, Operands...> {
  using type = accepted;
};
template <bool OneMesh, class Mesh, class Verdict, class... Operands>
struct judged {
  using type = check::operands_share_one_mesh<false, Operands...>;
};
template <class Mesh, class Verdict, class... Operands>
struct judged<true, Mesh, Verdict, Operands...>
    : rule_named<static_cast<int>(Verdict::value.error), typename axis_named<Mesh, Verdict::value.atom>::type, Operands...> {};

/// A typing function's verdict as the rule that is broken, with the axis and the operands as context. An op asks for its ::ok itself:
/// what compilers print then leads from the rule to the op without a step between.
template <class Mesh, class Verdict, class... Operands>
using accept = typename judged<(std::is_same_v<Mesh, typename mesh_of<Operands>::type> && ...), Mesh, Verdict, Operands...>::type;

template <class Mesh, class Verdict>
struct layout_from {
  static constexpr layout_code code = encode(Verdict::value.out);
  using type = layout_of_code_t<Mesh, code.places, code.order>;
};

/// Result type of an op: element, extents, and the layout a verdict computed.
template <class E, class Extents, class Mesh, class Verdict>
using result_t = tensor<E, Extents, typename layout_from<Mesh, Verdict>::type>;

template <class Extents, int Last>
struct replace_last;
template <int... Sizes, int Last>
struct replace_last<extents<Sizes...>, Last> {
  template <std::size_t... Dims>
  static extents<(Dims + 1 == sizeof...(Sizes) ? Last : extents<Sizes...>::value[Dims])...> build(std::index_sequence<Dims...>);
  using type = decltype(build(std::make_index_sequence<sizeof...(Sizes)>{}));
};
template <class Extents, int Last>
struct append_dim;
template <int... Sizes, int Last>
struct append_dim<extents<Sizes...>, Last> {
  using type = extents<Sizes..., Last>;
};
template <class Extents, int First>
struct prepend_dim;
template <int... Sizes, int First>
struct prepend_dim<extents<Sizes...>, First> {
  using type = extents<First, Sizes...>;
};
template <class Extents>
struct drop_last;
template <int... Sizes>
struct drop_last<extents<Sizes...>> {
  template <std::size_t... Dims>
  static extents<extents<Sizes...>::value[Dims]...> build(std::index_sequence<Dims...>);
  using type = decltype(build(std::make_index_sequence<sizeof...(Sizes) - 1>{}));
};

/// Do side inputs (labels, masks, tables) lie as the rows they go with? Where `main` cuts one of its dims shift ..
/// shift + rows - 1, `side` has the same cut of that row dim; elsewhere it is whole.
constexpr bool rows_alike(const layout_value& main, int rows, int shift, const layout_value& side) {
  for (int a = 0; a < main.atoms; ++a) {
    const placement_value p = main.at[a], q = side.at[a];
    if (p.cuts() && p.dim >= shift && p.dim < shift + rows) {
      if (q.kind != p.kind || q.dim != p.dim - shift || q.sections != p.sections) return false;
    } else if (q.kind != placement_kind::replicate && q.kind != placement_kind::invariant) {
      return false;
    }
  }
  int at = 0;  // the axes that cut one dim must cut it in one order
  for (int c = 0; c < main.cuts; ++c) {
    const int d = main.at[main.cut[c]].dim;
    if (d < shift || d >= shift + rows) continue;
    if (at >= side.cuts || side.cut[at++] != main.cut[c]) return false;
  }
  return true;
}
template <class Main, class Side, int Shift = 0>
constexpr bool goes_with(int rows) {
  return rows_alike(Main::layout_type::value, rows, Shift, Side::layout_type::value);
}

/// Layout of a tensor with a leading dim added: all cuts move one dim up.
constexpr layout_value shifted(layout_value v, int by) {
  for (int a = 0; a < v.atoms; ++a)
    if (v.at[a].cuts()) v.at[a].dim = static_cast<std::int8_t>(v.at[a].dim + by);
  return v;
}

}  // namespace detail
}  // namespace plait::inline v0_1
