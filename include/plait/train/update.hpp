#pragma once
// The optimizer on one parameter, typed: for loops that keep their own parameters. A whole plan's parameters are updated by
// parameter_store, which sums the pending gradients that the plan's layouts imply.
#include "plait/ops/dense.hpp"

namespace plait::inline v0_1 {
namespace detail {

/// The first axis on which the gradient still is a pending sum, or -1.
template <class Gradient>
constexpr int pending_atom() {
  for (int a = 0; a < Gradient::layout_type::value.atoms; ++a)
    if (Gradient::layout_type::value.at[a].kind == placement_kind::partial) return a;
  return -1;
}
/// Replicate and Invariant are stored alike.
constexpr layout_value stored(layout_value v) {
  for (int a = 0; a < v.atoms; ++a)
    if (v.at[a].kind == placement_kind::invariant) v.at[a] = Replicate::value;
  return v;
}

}  // namespace detail

/// One AdamW step (arXiv 1711.05101) on this rank's part of a parameter. Gradient and moments lie as the parameter does, so a gradient
/// that is a pending sum must have been reduced. options.step is 1 for the first step.
template <class W, class G, class M>
void update(context& c, W& parameter, const G& gradient, M& moment1, M& moment2, const adamw_options& options) {
  constexpr int pending = detail::pending_atom<G>();
  constexpr layout_value kept = detail::stored(W::layout_type::value);
  constexpr bool fits =
      check::a_gradient_is_synchronised_before_the_optimizer<pending < 0, typename detail::axis_named<typename G::mesh, pending>::type, G>::ok &&
      check::the_layout_is_the_one_wanted<pending >= 0 || detail::stored(G::layout_type::value) == kept, G, W>::ok &&
      check::the_layout_is_the_one_wanted<detail::stored(M::layout_type::value) == kept, M, W>::ok &&
      check::elements_agree<std::is_same_v<typename W::element, typename M::element>, W, M>::ok &&
      check::extents_agree<detail::same_extents<W, G>() && detail::same_extents<W, M>(), W, G, M>::ok;
  if constexpr (fits) {
    const view p = parameter.data().now(), g = gradient.data().now(), m1 = moment1.data().now(), m2 = moment2.data().now();
    detail::require_extents(p.size() == g.size() && p.size() == m1.size() && p.size() == m2.size(), "update: parts of unlike size");
    c.ops->adamw(c.exec, p, g, m1, m2, view{}, options);
  }
}

}  // namespace plait::inline v0_1
