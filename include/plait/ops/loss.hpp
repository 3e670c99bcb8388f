#pragma once
// Losses. Cross entropy over a cut vocabulary is three typed pieces with two stated reductions between them.
#include "plait/ops/redistribute.hpp"
#include "plait/ops/dense.hpp"
#include "plait/runtime/op_loss.hpp"

namespace plait::inline v0_1 {
namespace detail {

template <class X>
struct max_verdict {
  static constexpr typed value = typing::max_last(X::layout_type::value, X::rank);
};
template <class X>
struct parts_verdict {
  static constexpr typed value = [] {
    typed t = typing::sum_last(X::layout_type::value, X::rank);
    t.out = shifted(t.out, 1);
    return t;
  }();
};
template <class X>
struct sum_verdict {
  static constexpr typed value = [] {
    typed t = typing::elementwise(X::layout_type::value);
    for (int a = 0; a < X::layout_type::value.atoms; ++a)
      if (t.ok() && X::layout_type::value.at[a].cuts(0)) t.error = type_error::row_cut, t.atom = a;  // dim 0 holds two unlike things
    return t.ok() ? typing::sum_leading(X::layout_type::value, X::rank, 0) : t;
  }();
};
/// Statistics are multiplied expert by expert: whole on every rank.
template <class X>
struct balance_verdict {
  static constexpr typed value = [] {
    typed t = typing::elementwise(X::layout_type::value);
    for (int a = 0; a < X::layout_type::value.atoms; ++a)
      if (t.ok() && X::layout_type::value.at[a].cuts()) t.error = type_error::row_cut, t.atom = a;
    return t;
  }();
};
template <class Layout>
constexpr bool loss_is_reduced_or_pending() {
  for (int a = 0; a < Layout::value.atoms; ++a) {
    const placement_kind k = Layout::value.at[a].kind;
    if (Layout::mesh::sizes[a] != 1 && k != placement_kind::partial && k != placement_kind::invariant) return false;
  }
  return true;
}

}  // namespace detail

/// Maximum over the last dim; a cut last dim gives PartialMax. Carries no gradient.
template <class X>
auto row_maximum(context& c, const X& x) {
  using verdict = detail::max_verdict<X>;
  using result = detail::result_t<statistic_t<typename X::element>, typename detail::drop_last<typename X::extents_type>::type, typename X::mesh, verdict>;
  if constexpr (detail::accept<typename X::mesh, verdict, X>::ok) {
    return result(runtime::row_maximum(c, x.data(), verdict::value.out));
  } else {
    return result{};
  }
}

/// [2, rows...]: sum of exp(logit - maximum), and (target logit - maximum), over this rank's columns; a pending sum where the
/// vocabulary is cut. labels: int64, -100 is ignored.
template <class X, class M, class Labels>
auto cross_entropy_parts(context& c, const X& logits, const M& maximum, const Labels& labels) {
  using verdict = detail::parts_verdict<X>;
  using rows = typename detail::drop_last<typename X::extents_type>::type;
  using result = detail::result_t<statistic_t<typename X::element>, typename detail::prepend_dim<rows, 2>::type, typename X::mesh, verdict>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename M::element, statistic_t<typename X::element>>, M, X>::ok &&
                        check::elements_agree<std::is_same_v<typename Labels::element, std::int64_t>, Labels, X>::ok;
  if constexpr (fits && detail::accept<typename X::mesh, verdict, X>::ok &&
                check::the_layout_is_the_one_wanted<(!verdict::value.ok() || detail::goes_with<X, M>(X::rank - 1)), M, X>::ok &&
                check::side_inputs_lie_as_their_rows<(!verdict::value.ok() || detail::goes_with<X, Labels>(X::rank - 1)), Labels, X>::ok) {
    const array& a = logits.data();
    detail::require_alike(maximum.data(), a, X::rank - 1, "cross_entropy_parts: there is not one maximum a row");
    detail::require_alike(labels.data(), a, X::rank - 1, "cross_entropy_parts: there is not one label a row");
    const index_set held = held_indices(X::layout_type::value, X::rank - 1, a.global[X::rank - 1], c.mesh.size, c.coordinate);
    return result(runtime::cross_entropy_parts(c, a, maximum.data(), labels.data(), held.count == 0 ? a.global[X::rank - 1] : held.range[0].begin,
                                               verdict::value.out));
  } else {
    return result{};
  }
}

/// factor * sum of the valid rows' losses, from reduced parts. Rows cut over an axis leave a pending sum there.
template <class P, class Labels>
auto cross_entropy_sum(context& c, const P& parts, const Labels& labels, double factor) {
  using verdict = detail::sum_verdict<P>;
  using result = detail::result_t<typename P::element, extents<1>, typename P::mesh, verdict>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename Labels::element, std::int64_t>, Labels, P>::ok;
  if constexpr (fits && detail::accept<typename P::mesh, verdict, P>::ok &&
                check::side_inputs_lie_as_their_rows<(!verdict::value.ok() || detail::goes_with<P, Labels, 1>(P::rank - 1)), Labels, P>::ok) {
    detail::require_alike(labels.data(), parts.data(), P::rank - 1, "cross_entropy_sum: there is not one label a row", 1);
    return result(runtime::cross_entropy_sum(c, parts.data(), labels.data(), factor, verdict::value.out));
  } else {
    return result{};
  }
}

/// Load-balancing loss (arXiv 2101.03961, as Hugging Face sums it over layers) from reduced statistics [2, E] of `rows` routed rows.
template <class S>
auto balance(context& c, const S& statistics, double rows) {
  using verdict = detail::balance_verdict<S>;
  using result = detail::result_t<typename S::element, extents<1>, typename S::mesh, verdict>;
  if constexpr (detail::accept<typename S::mesh, verdict, S>::ok) {
    return result(runtime::balance(c, statistics.data(), rows, verdict::value.out));
  } else {
    return result{};
  }
}

/// Runs the tape from a loss [1]: Partial or Invariant on every axis, so that its gradient is 1 on every rank.
template <class E, class X, class L>
void backward(context& c, const tensor<E, X, L>& loss) {
  if constexpr (check::a_loss_is_partial_or_invariant<detail::loss_is_reduced_or_pending<L>(), tensor<E, X, L>>::ok &&
                check::extents_agree<detail::extents_compatible<X, extents<1>>(), tensor<E, X, L>, extents<1>>::ok) {
    detail::require_extents(loss.data().local.size() == 1, "backward: a loss is one number");
    const std::shared_ptr<gradient_slot>& slot = loss.data().gradient;
    if (slot == nullptr || c.recording == nullptr) throw std::logic_error("plait: backward from a value that no recorded op produced");
    if (c.recording->size() == 0) throw std::logic_error("plait: the tape is empty: its backward has run, or nothing was recorded");
    detail::contribute(c, slot, [&](view one) { c.ops->fill(c.exec, one, 1.0); });
    tape* recorded = c.recording;
    const scoped_value<tape*> unrecorded(c.recording, nullptr);  // pullbacks are not themselves recorded
    const scoped_value<bool> going_back(c.in_backward, true);
    recorded->backward(c);
  }
}

}  // namespace plait::inline v0_1
