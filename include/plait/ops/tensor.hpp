#pragma once
// The typed tensor: a thin shell over an array. Its type says element, global extents and layout; ops are chosen and checked on
// that, then work on the array.
#include <cstdint>

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
template <class Layout, class Wanted>
struct layouts_equal {
  static constexpr bool value = Layout::value == Wanted::value;
};
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
  explicit tensor(array a) : array_(std::move(a)) {}

  /// Taking a tensor of another layout is an error with a sentence, not "no conversion": redistribute says which collective.
  template <class OtherElement, class OtherExtents, class OtherLayout>
  tensor(const tensor<OtherElement, OtherExtents, OtherLayout>& other) {
    constexpr bool ok = check::elements_agree<std::is_same_v<Element, OtherElement>, Element, OtherElement>::ok &&
                        check::the_layout_is_the_one_wanted<detail::layouts_equal<OtherLayout, Layout>::value, OtherLayout, Layout>::ok;
    if constexpr (ok) array_ = other.data();
  }

  array& data() { return array_; }
  const array& data() const { return array_; }
  /// Local memory of this rank, row-major.
  Element* local() const { return static_cast<Element*>(array_.local.data); }
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

// The error goes by number: g++ would print the enumerator's qualified name, which ends in "error::", before the sentence.
template <int Number, class... Context>
constexpr bool report() {
  using e = type_error;
  constexpr e Error = static_cast<e>(Number);
  if constexpr (Error == e::none) return true;
  else if constexpr (Error == e::partial_nonlinear) return check::a_pending_sum_cannot_pass_a_nonlinear_op<false, Context...>::ok;
  else if constexpr (Error == e::partial_times_partial) return check::two_pending_sums_cannot_be_multiplied<false, Context...>::ok;
  else if constexpr (Error == e::partial_plus_replicate) return check::a_replicated_value_cannot_join_a_pending_sum<false, Context...>::ok;
  else if constexpr (Error == e::invariant_mixed) return check::an_invariant_value_meets_only_invariant_ones<false, Context...>::ok;
  else if constexpr (Error == e::contraction_mismatch) return check::the_contracted_dim_is_cut_alike<false, Context...>::ok;
  else if constexpr (Error == e::axis_cuts_twice) return check::an_axis_is_used_once<false, Context...>::ok;
  else if constexpr (Error == e::placement_mismatch) return check::the_layout_is_the_one_wanted<false, Context...>::ok;
  else if constexpr (Error == e::packed_mismatch) return check::packed_dims_are_cut_section_by_section<false, Context...>::ok;
  else if constexpr (Error == e::row_cut) return check::row_local_ops_see_whole_rows<false, Context...>::ok;
  else if constexpr (Error == e::tokens_cut_over_experts) return check::experts_see_all_tokens_of_their_axis<false, Context...>::ok;
  else if constexpr (Error == e::not_differentiable) return check::a_maximum_has_no_gradient<false, Context...>::ok;
  else if constexpr (Error == e::not_innermost) return check::only_the_innermost_cut_moves<false, Context...>::ok;
  else if constexpr (Error == e::no_single_collective) return check::one_collective_joins_these_placements<false, Context...>::ok;
  else if constexpr (Error == e::adjoint_only) return check::this_move_exists_only_as_an_adjoint<false, Context...>::ok;
  else return check::a_reshape_keeps_cut_dims_whole<false, Context...>::ok;
}

template <class Mesh, int Atom>
struct axis_named {
  using type = typename Mesh::template atom<static_cast<std::size_t>(Atom)>;
};
template <class Mesh>
struct axis_named<Mesh, -1> {
  using type = void;
};

/// Reports a typing function's verdict with the axis and the operands as context.
template <class Mesh, class Verdict, class... Operands>
constexpr bool accept() {
  constexpr typed t = Verdict::value;
  return report<static_cast<int>(t.error), typename axis_named<Mesh, t.ok() ? -1 : t.atom>::type, Operands...>();
}

template <class Mesh, class Verdict>
struct layout_from {
  static constexpr layout_code code = encode(Verdict::value.out);
  using type = layout_of_code_t<Mesh, code.places, code.order>;
};

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

/// Layout of a tensor with a leading dim added: all cuts move one dim up.
constexpr layout_value shifted(layout_value v, int by) {
  for (int a = 0; a < v.atoms; ++a)
    if (v.at[a].cuts()) v.at[a].dim = static_cast<std::int8_t>(v.at[a].dim + by);
  return v;
}

}  // namespace detail
}  // namespace plait::inline v0_1
