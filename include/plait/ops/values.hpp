#pragma once
// What a tensor holds, on the host, wherever its memory is. Both wait for what is queued.
#include <vector>

#include "plait/ops/dense.hpp"
#include "plait/ops/redistribute.hpp"

namespace plait::inline v0_1 {
namespace detail {
/// The layout with every pending sum and maximum reduced.
template <class Layout>
struct without_pending {
  static constexpr typed value = [] {
    typed t;
    t.out = Layout::value;
    for (int a = 0; a < t.out.atoms; ++a)
      if (is_pending(t.out.at[a])) t.out.at[a] = Invariant::value;
    return t;
  }();
};
template <class Layout>
using without_pending_t = typename layout_from<typename Layout::mesh, without_pending<Layout>>::type;
}  // namespace detail

/// This rank's block of x, row-major; where nothing cuts x, all of it. Of a pending sum there is none: redistribute it first.
template <class E, class X, class L>
std::vector<E> values_of(context& c, const tensor<E, X, L>& x) {
  if constexpr (check::a_pending_sum_is_not_read<!detail::pending_somewhere<L>(), tensor<E, X, L>>::ok) {
    const view from = x.data().now();
    std::vector<E> values(static_cast<std::size_t>(from.size()));
    c.ops->copy(c.exec, values.data(), from.data, from.bytes());
    return values;
  } else {
    return {};
  }
}

/// The one number that x [1] holds. What is pending is reduced for it, so all ranks call this together; it leaves nothing on the tape.
template <class E, class X, class L>
E value_of(context& c, const tensor<E, X, L>& x) {
  if constexpr (check::extents_agree<detail::extents_compatible<X, extents<1>>(), tensor<E, X, L>, extents<1>>::ok) {
    detail::require_extents(x.data().local.size() == 1, "value_of: the tensor does not hold one number");
    return values_of(c, redistribute<detail::without_pending_t<L>>(c, stop_gradient(x)))[0];
  } else {
    return E{};
  }
}

}  // namespace plait::inline v0_1
