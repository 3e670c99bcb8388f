#pragma once
// Weights with the style that rules them, and the dense ops under it: what arrives and what leaves is as the style's slots say.
#include <type_traits>
#include <utility>

#include "plait/ops/dense.hpp"
#include "plait/style/style.hpp"

namespace plait::inline v0_1 {

/// A parameter together with the style that rules it.
template <class Style, class Tensor>
struct styled : Tensor {
  using style = Style;
  using tensor_type = Tensor;
  explicit styled(Tensor t) : Tensor(std::move(t)) {}
};

namespace detail {

/// In the place of the style of a weight that there is not, or whose plan was refused. That has been said; ops give what the style
/// promises, and report nothing.
template <class Style>
struct refused {};
template <bool Accepted, class Style>
using style_or_refused = std::conditional_t<Accepted, Style, refused<Style>>;

/// Layout of x with a slot's placement on the style's axis.
template <class X, class Style, class Slot>
struct slot_layout {
  static_assert(check::every_axis_is_in_the_mesh<(X::mesh::template mask<typename Style::axis> >> 31) == 0, typename Style::axis, X>::ok);
  static constexpr layout_value value =
      with_placement(X::layout_type::value, X::mesh::template mask<typename Style::axis>, Slot::value.resolved(X::rank), X::mesh::sizes);
  static_assert(sizeof(check::a_named_dim_is_there<value.fits_rank(X::rank), Style>) > 0);  // for its own message alone
  static constexpr layout_code code = encode(value.fits_rank(X::rank) ? value : layout_value{value.atoms});
  using type = layout_of_code_t<typename X::mesh, code.places, code.order>;
};

template <class X, class Style, class Wanted = slot_layout<X, Style, typename Style::input>>
using arrives_as_wanted = check::the_layout_is_the_one_wanted<(X::layout_type::value == Wanted::value), Style, X, typename Wanted::type>;
template <class Style, class Y, class Wanted = slot_layout<Y, Style, typename Style::output::placement>>
using leaves_as_promised = check::the_layout_is_the_one_wanted<(Y::layout_type::value == Wanted::value), Style, Y, typename Wanted::type>;
/// What the style promises. It is given where a check has failed, so that what follows is not reported as well.
template <class Style, int Last, class X>
auto promised(const X& x) {
  return blank<typename X::element, typename replace_last<typename X::extents_type, Last>::type,
               typename slot_layout<X, Style, typename Style::output::placement>::type>(x.data());
}
/// The same of a refused style, which may be no style.
template <class Style, int Last, class X>
auto promised_if_at_all(const X& x) {
  if constexpr (requires { requires parallel_style<Style> && (X::mesh::template mask<typename Style::axis> >> 31) == 0; }) return promised<Style, Last>(x);
  else return blank<typename X::element, typename replace_last<typename X::extents_type, Last>::type, typename X::layout_type>(x.data());
}
/// Applies the output slot: checks or moves.
template <class Style, class Y>
auto leave(context& c, const Y& y) {
  using wanted = slot_layout<Y, Style, typename Style::output::placement>;
  if constexpr (Style::output::moves) {
    return redistribute<typename wanted::type>(c, y);
  } else {
    if constexpr (leaves_as_promised<Style, Y>::ok) {
      return y;
    } else {
      return blank<typename Y::element, typename Y::extents_type, typename wanted::type>(y.data());
    }
  }
}

template <class T>
concept tensor_like = requires { typename T::element; typename T::extents_type; typename T::layout_type; };
/// Reports operands that an op under a style does not take. The first tensor stands for its result.
template <class... Operands>
struct wrong_operands {
  static_assert(sizeof(check::a_styled_op_has_its_operands<false, Operands...>) > 0);  // for its own message alone
  template <class First, class... Rest>
  static auto result(const First& first, const Rest&... rest) {
    if constexpr (requires { typename First::rows_type; } || (tensor_like<First> && !requires { typename First::style; })) return first;
    else if constexpr (sizeof...(Rest) > 0) return result(rest...);
  }
};
}  // namespace detail

/// A linear layer under its style: the input must arrive as the input slot says, the output leaves as the output slot says.
template <detail::tensor_like X, class Style, class Tensor>
auto project(context& c, const X& x, const styled<Style, Tensor>& w) {
  if constexpr (detail::arrives_as_wanted<X, Style>::ok) {
    return detail::leave<Style>(c, linear(c, x, static_cast<const Tensor&>(w)));
  } else {
    return detail::promised<Style, Tensor::extents_type::value[0]>(x);
  }
}
/// The same with a bias. One that is cut is added where the output is cut alike, a whole one after the output has moved: once.
template <detail::tensor_like X, class Style, class Tensor, class BiasTensor>
auto project(context& c, const X& x, const styled<Style, Tensor>& w, const styled<Style, BiasTensor>& b) {
  if constexpr (BiasTensor::layout_type::value.cuts > 0 && detail::arrives_as_wanted<X, Style>::ok)
    return detail::leave<Style>(c, bias_add(c, linear(c, x, static_cast<const Tensor&>(w)), static_cast<const BiasTensor&>(b)));
  else return bias_add(c, project(c, x, w), static_cast<const BiasTensor&>(b));
}

template <detail::tensor_like X, class Style, class Tensor>
auto project(context&, const X& x, const styled<detail::refused<Style>, Tensor>&) {
  return detail::promised_if_at_all<Style, Tensor::extents_type::value[0]>(x);
}
template <detail::tensor_like X, class Style, class Tensor, class BiasTensor>
auto project(context& c, const X& x, const styled<detail::refused<Style>, Tensor>& w, const styled<detail::refused<Style>, BiasTensor>&) {
  return project(c, x, w);
}
/// Of anything else: why it is refused.
template <class... Operands>
auto project(const Operands&... operands) {
  return detail::wrong_operands<Operands...>::result(operands...);
}

/// RMSNorm under its style.
template <class X, class Style, class Tensor>
auto normalise(context& c, const X& x, const styled<Style, Tensor>& w, double epsilon) {
  if constexpr (detail::arrives_as_wanted<X, Style>::ok) {
    return detail::leave<Style>(c, rms_norm(c, x, static_cast<const Tensor&>(w), epsilon));
  } else {
    return detail::promised<Style, detail::last_extent<X>>(x);
  }
}

/// LayerNorm under its style.
template <class X, class Style, class Tensor, class Bias>
auto normalise(context& c, const X& x, const styled<Style, Tensor>& w, const styled<Style, Bias>& b, double epsilon) {
  if constexpr (detail::arrives_as_wanted<X, Style>::ok) {
    return detail::leave<Style>(c, layer_norm(c, x, static_cast<const Tensor&>(w), static_cast<const Bias&>(b), epsilon));
  } else {
    return detail::promised<Style, detail::last_extent<X>>(x);
  }
}

template <class X, class Style, class Tensor>
auto normalise(context&, const X& x, const styled<detail::refused<Style>, Tensor>&, double) {
  return detail::promised_if_at_all<Style, detail::last_extent<X>>(x);
}

/// Embedding under its style.
template <class Ids, class Style, class Tensor>
auto embed(context& c, const Ids& ids, const Ids& learning_ids, const styled<Style, Tensor>& table) {
  return detail::leave<Style>(c, embedding(c, ids, learning_ids, static_cast<const Tensor&>(table)));
}
template <class Ids, class Style, class Tensor>
auto embed(context& c, const Ids& ids, const styled<Style, Tensor>& table) {
  return embed(c, ids, ids, table);
}
template <class Ids, class Style, class Tensor>
auto embed(context&, const Ids& ids, const Ids&, const styled<detail::refused<Style>, Tensor>&) {
  constexpr int width = Tensor::extents_type::value[Tensor::rank - 1];
  using rows = tensor<typename Tensor::element, typename detail::append_dim<typename Ids::extents_type, width>::type, typename Ids::layout_type>;
  return detail::promised_if_at_all<Style, width>(detail::blank<typename rows::element, typename rows::extents_type, typename rows::layout_type>(ids.data()));
}

}  // namespace plait::inline v0_1
