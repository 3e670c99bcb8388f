#pragma once
// Mixture-of-experts ops: route, dispatch, grouped linear, combine, balancing statistics.
#include "plait/ops/styled.hpp"
#include "plait/runtime/op_experts.hpp"
#include "plait/runtime/op_loss.hpp"
#include "plait/typing/experts.hpp"
#include "plait/typing/reduction.hpp"

namespace plait::inline v0_1 {
namespace runtime {
struct row_exchange;
}
namespace detail {

template <class X>
struct row_local_verdict {
  static constexpr typed value = typing::row_local(X::layout_type::value, X::rank);
};
template <class X, class B>
struct choice_verdict {
  static constexpr typed value = typing::row_norm(X::layout_type::value, X::rank, B::layout_type::value);
};
template <class X, class W>
struct dispatch_verdict {
  static constexpr typed value = typing::dispatch(X::layout_type::value, X::rank, W::layout_type::value);
};
template <class X, class W, bool Transposed>
struct grouped_verdict {
  static constexpr typed value = typing::grouped_linear(X::layout_type::value, W::layout_type::value, Transposed ? 2 : 1, Transposed ? 1 : 2);
};
template <class Rows, class Tokens>
struct combine_verdict {
  static constexpr typed value = typing::combine(Rows::layout_type::value, Tokens::layout_type::value, Tokens::rank);
};
template <class Layout, int Rank>
struct statistics_verdict {
  static constexpr typed value = [] {
    typed t = typing::sum_leading(Layout::value, Rank, 1);
    t.out = shifted(t.out, 1);
    return t;
  }();
};

}  // namespace detail

/// What a router decided for tokens laid out as Layout (rank Rank). Scores carry the gradient to the logits.
template <class Element, class Layout, int Rank>
struct routing {
  using element = Element;
  using layout_type = Layout;
  static constexpr int rank = Rank;
  runtime::routing_arrays arrays;
  array logits;
};

namespace detail {
inline void check_router(std::int64_t experts, std::int64_t k, const router_options& o) {
  require_extents(k <= experts, "route: a token cannot choose more experts than there are");
  require_extents(o.groups >= 1 && experts % o.groups == 0, "route: groups do not divide the experts");
  require_extents(o.kept_groups >= 1 && o.kept_groups <= o.groups && k <= experts / o.groups * o.kept_groups,
                  "route: the groups that are kept hold fewer experts than a token chooses");
  require_extents(o.scoring != router_scoring::sparsemixer || k == 2, "route: sparsemixer chooses two experts");
}
}  // namespace detail

/// Top-k router over logits[..., E], as the options say (float32 inside). Pending-sum gradients of scores pass: the pullback is
/// linear in them.
template <class X>
auto route(context& c, const X& logits, std::int64_t k, const router_options& options) {
  using verdict = detail::row_local_verdict<X>;
  using result = routing<typename X::element, typename X::layout_type, X::rank>;
  if constexpr (detail::accept<typename X::mesh, verdict, X>::ok) {
    detail::check_router(logits.data().global[X::rank - 1], k, options);
    return result{runtime::route(c, logits.data(), nullptr, k, options, X::layout_type::value), logits.data()};
  } else {
    return result{};
  }
}
/// The same, where bias[E] (or [1, E]; a number a expert in the statistics' type, whole on every rank) is added to the probabilities
/// for the choice alone. It has no gradient.
template <class X, class Bias>
auto route(context& c, const X& logits, const Bias& bias, std::int64_t k, const router_options& options) {
  using verdict = detail::choice_verdict<X, Bias>;
  using result = routing<typename X::element, typename X::layout_type, X::rank>;
  constexpr bool fits = check::elements_agree<std::is_same_v<statistic_t<typename X::element>, typename Bias::element>, X, Bias>::ok &&
                        check::extents_agree<compatible(detail::last_extent<X>, detail::last_extent<Bias>), X, Bias>::ok;
  if constexpr (fits && detail::accept<typename X::mesh, verdict, X, Bias>::ok) {
    const std::int64_t experts = logits.data().global[X::rank - 1];
    detail::check_router(experts, k, options);
    detail::require_extents(bias.data().local.size() == experts, "route: the bias has one number an expert");
    return result{runtime::route(c, logits.data(), &bias.data(), k, options, X::layout_type::value), logits.data()};
  } else {
    return result{};
  }
}

/// Rows of (token, choice) pairs, sorted by expert. [., H], of which the last offset says how many count. Experts and Tokens are the
/// layouts of the weight and of the tokens they were dispatched for (void: not known).
template <class Rows, class Experts = void, class Tokens = void>
struct dispatched {
  using rows_type = Rows;
  Rows rows;
  array offsets, slot_of_pair;
  bool weighted = false;  // the rows carry their scores already
  std::shared_ptr<const runtime::row_exchange> exchange{};  // how rows were sent to their experts' ranks (ops/exchange.hpp), if they were
};

namespace detail {
/// Other rows in the same slots.
template <class Y, class X, class Experts, class Tokens>
dispatched<Y, Experts, Tokens> with_rows(const dispatched<X, Experts, Tokens>& d, Y rows) {
  return {std::move(rows), d.offsets, d.slot_of_pair, d.weighted, d.exchange};
}
/// Are the experts of two weights (dim 0) cut by the same axes in the same order?
template <class Experts, class Weight>
constexpr bool same_experts() {
  if constexpr (std::is_void_v<Experts>) {
    return true;
  } else {
    const layout_value a = Experts::value, b = Weight::layout_type::value;
    int i = 0, j = 0;  // cuts ascend by dim, so those of dim 0 come first
    while (i < a.cuts && a.at[a.cut[i]].dim == 0) ++i;
    while (j < b.cuts && b.at[b.cut[j]].dim == 0) ++j;
    for (int c = 0; c < i && i == j; ++c)
      if (a.cut[c] != b.cut[c]) return false;
    return i == j;
  }
}
template <class Tokens, class Other>
constexpr bool same_tokens() {
  if constexpr (std::is_void_v<Tokens>) return true;
  else return Tokens::value == Other::layout_type::value;
}
}  // namespace detail

/// Picks the rows for the experts whose weight w [E, ...] this rank holds; where tokens and experts are cut over the same axes, the rows
/// for all experts, which to_experts then sends. Weighted: times their scores, which combine then leaves out.
template <class X, class R, class W>
auto dispatch(context& c, const X& x, const R& routed, const W& w, bool weighted = false) {
  using verdict = detail::dispatch_verdict<X, W>;
  using rows = detail::result_t<typename X::element, extents<dyn, detail::last_extent<X>>, typename X::mesh, verdict>;
  using result = dispatched<rows, typename W::layout_type, typename X::layout_type>;
  if constexpr (detail::accept<typename X::mesh, verdict, X, W>::ok &&
                check::the_layout_is_the_one_wanted<(!verdict::value.ok() || X::layout_type::value == R::layout_type::value), X, R>::ok) {
    const array& weight = w.data();
    detail::require_extents(x.data().local.rows() == routed.arrays.ids.local.rows(), "dispatch: other tokens were routed than are dispatched");
    detail::require_extents(weight.global[0] == routed.logits.global[R::rank - 1], "dispatch: there are not as many experts as the router chose among");
    constexpr bool sends = !(typing::with_experts(verdict::value.out, W::layout_type::value) == verdict::value.out);
    const index_set held = held_indices(W::layout_type::value, 0, weight.global[0], c.mesh.size, c.coordinate);
    runtime::dispatch_arrays d = runtime::dispatch(c, x.data(), routed.arrays.ids, weighted ? &routed.arrays.scores : nullptr,
                                                   sends || held.count == 0 ? 0 : held.range[0].begin, sends ? weight.global[0] : weight.local.extent[0], verdict::value.out);
    return result{rows(std::move(d.rows)), std::move(d.offsets), std::move(d.slot_of_pair), weighted, nullptr};
  } else {
    return result{};
  }
}

/// y[p, out] = rows[p, in] W[e(p), out, in]^T; Transposed: W is [E, in, out].
template <bool Transposed = false, class X, class Experts, class Tokens, class W>
auto grouped_linear(context& c, const dispatched<X, Experts, Tokens>& d, const W& w) {
  constexpr int out = Transposed ? 2 : 1, in = 3 - out;
  using verdict = detail::grouped_verdict<X, W, Transposed>;
  using rows = detail::result_t<typename X::element, extents<dyn, W::extents_type::value[out]>, typename X::mesh, verdict>;
  using result = dispatched<rows, Experts, Tokens>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename X::element, typename W::element>, X, W>::ok &&
                        check::extents_agree<compatible(detail::last_extent<X>, W::extents_type::value[in]), X, W>::ok;
  if constexpr (fits && detail::accept<typename X::mesh, verdict, X, W>::ok &&
                check::rows_meet_the_experts_they_were_dispatched_to<(!verdict::value.ok() || detail::same_experts<Experts, W>()), Experts, W>::ok) {
    detail::require_extents(d.rows.data().global[1] == w.data().global[in], "grouped_linear: the rows' extent is not that of the weight's inputs");
    detail::require_extents(d.offsets.local.extent[0] == w.data().local.extent[0] + 1, "grouped_linear: the rows were dispatched to another number of experts");
    return detail::with_rows(d, rows(runtime::grouped_linear(c, d.rows.data(), w.data(), Transposed, d.offsets, verdict::value.out)));
  } else {
    return result{};
  }
}

/// grouped_linear under its style: rows must arrive as the input slot says, and leave as the output slot says.
template <bool Transposed = false, class X, class Experts, class Tokens, class Style, class Tensor>
auto project_experts(context& c, const dispatched<X, Experts, Tokens>& d, const styled<Style, Tensor>& w) {
  using promised = decltype(detail::promised<Style, Tensor::extents_type::value[Transposed ? 2 : 1]>(d.rows));
  if constexpr (detail::arrives_as_wanted<X, Style>::ok) {
    auto y = grouped_linear<Transposed>(c, d, static_cast<const Tensor&>(w));
    if constexpr (detail::leaves_as_promised<Style, typename decltype(y)::rows_type>::ok) {
      return y;
    } else {
      return dispatched<promised, Experts, Tokens>{};
    }
  } else {
    return dispatched<promised, Experts, Tokens>{};
  }
}

template <bool Transposed = false, class X, class Experts, class Tokens, class Style, class Tensor>
auto project_experts(context&, const dispatched<X, Experts, Tokens>& d, const styled<detail::refused<Style>, Tensor>&) {
  return dispatched<decltype(detail::promised_if_at_all<Style, Tensor::extents_type::value[Transposed ? 2 : 1]>(d.rows)), Experts, Tokens>{};
}
/// Of anything else: why it is refused.
template <class... Operands>
auto project_experts(const Operands&... operands) {
  return detail::wrong_operands<Operands...>::result(operands...);
}

/// silu(gate) * up on dispatched rows.
template <class X, class Experts, class Tokens>
auto swiglu(context& c, const dispatched<X, Experts, Tokens>& d) {
  return detail::with_rows(d, swiglu(c, d.rows));
}
/// Any gated activation on them.
template <bool Paired, class X, class Experts, class Tokens>
auto gated(context& c, const dispatched<X, Experts, Tokens>& d, const gated_options& options) {
  return detail::with_rows(d, gated<Paired>(c, d.rows, options));
}

/// Weights each row by its score, unless dispatch did, and sums the k rows of a token. `like` gives the tokens' extents.
template <class X, class Experts, class Tokens, class R, class Like>
auto combine(context& c, const dispatched<X, Experts, Tokens>& d, const R& routed, const Like& like) {
  using verdict = detail::combine_verdict<X, R>;
  using result = detail::result_t<typename X::element, typename detail::replace_last<typename Like::extents_type, X::extents_type::value[1]>::type,
                                  typename X::mesh, verdict>;
  constexpr bool same = detail::same_tokens<Tokens, R>() && detail::same_tokens<Tokens, Like>();
  if constexpr (detail::accept<typename X::mesh, verdict, X, R>::ok &&
                check::rows_meet_the_experts_they_were_dispatched_to<(!verdict::value.ok() || same), Tokens, R, Like>::ok) {
    const array& scores = routed.arrays.scores;
    detail::require_extents(scores.local.size() == d.slot_of_pair.local.size() && scores.local.rows() == like.data().local.rows(),
                            "combine: other tokens were routed than were dispatched");
    return result(runtime::combine(c, d.rows.data(), d.weighted ? runtime::ones_like(c, scores) : scores, d.slot_of_pair, like.data(), verdict::value.out));
  } else {
    return result{};
  }
}

/// [2, E] over the valid tokens: choices per expert, probability sums. Rows cut over an axis make it a pending sum there.
template <class R, class Valid>
auto router_statistics(context& c, const R& routed, const Valid& valid) {
  using verdict = detail::statistics_verdict<typename R::layout_type, R::rank>;
  using mesh = typename R::layout_type::mesh;
  using result = detail::result_t<statistic_t<typename R::element>, extents<2, dyn>, mesh, verdict>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename Valid::element, std::uint8_t>, Valid, R>::ok;
  if constexpr (fits && detail::accept<mesh, verdict, R>::ok &&
                check::side_inputs_lie_as_their_rows<(!verdict::value.ok() || detail::goes_with<R, Valid>(R::rank - 1)), Valid, R>::ok) {
    detail::require_alike(valid.data(), routed.logits, R::rank - 1, "router_statistics: the mask is of other tokens");
    return result(runtime::router_statistics(c, routed.logits, routed.arrays, valid.data(), verdict::value.out));
  } else {
    return result{};
  }
}

}  // namespace plait::inline v0_1
