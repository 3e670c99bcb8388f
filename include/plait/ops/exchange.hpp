#pragma once
// Where tokens and experts are cut over the same axes, a dispatched row lies with its token, and its expert may be elsewhere. to_experts
// and to_tokens are the redistributions between the two; where nothing is to be sent they are the identity. One wait for the device a
// dispatch: to_experts reads the counts.
#include "plait/ops/experts.hpp"
#include "plait/ops/redistribute.hpp"
#include "plait/runtime/op_exchange.hpp"

namespace plait::inline v0_1 {
namespace detail {

template <class Rows, class Experts>
struct with_experts_verdict {
  static constexpr layout_value target = typing::with_experts(Rows::layout_type::value, Experts::value);
  static constexpr typed value = typing::redistribute(Rows::layout_type::value, target, false);
};
template <class Rows, class Tokens>
struct with_tokens_verdict {
  static constexpr layout_value target = typing::with_tokens(Rows::layout_type::value, Tokens::value);
  static constexpr typed value = typing::redistribute(Rows::layout_type::value, target, false);
};
template <class X, class Experts, class Tokens, class Verdict>
using exchanged_t = dispatched<result_t<typename X::element, typename X::extents_type, typename X::mesh, Verdict>, Experts, Tokens>;

}  // namespace detail

/// Rows on the ranks of their experts, sorted by local expert.
template <class X, class Experts, class Tokens>
auto to_experts(context& c, const dispatched<X, Experts, Tokens>& d) {
  using verdict = detail::with_experts_verdict<X, Experts>;
  using result = detail::exchanged_t<X, Experts, Tokens, verdict>;
  if constexpr (std::is_same_v<result, dispatched<X, Experts, Tokens>>) {
    return d;
  } else {
    const std::uint32_t mask = runtime::exchange_mask(c, X::layout_type::value, verdict::target);
    const auto e = mask == 0 ? nullptr : runtime::count_rows(c, d.offsets, Experts::value, mask);
    return result{typename result::rows_type(runtime::exchange(c, d.rows.data(), e, verdict::target)), e ? e->expert_offsets : d.offsets,
                  d.slot_of_pair, d.weighted, e};
  }
}

/// Rows on the ranks of their tokens, in the slots they were dispatched to.
template <class X, class Experts, class Tokens>
auto to_tokens(context& c, const dispatched<X, Experts, Tokens>& d) {
  using verdict = detail::with_tokens_verdict<X, Tokens>;
  using result = detail::exchanged_t<X, Experts, Tokens, verdict>;
  if constexpr (std::is_same_v<result, dispatched<X, Experts, Tokens>>) {
    return d;
  } else {
    const auto& e = d.exchange;
    return result{typename result::rows_type(runtime::exchange(c, d.rows.data(), e, verdict::target)), e ? e->token_offsets : d.offsets,
                  d.slot_of_pair, d.weighted, e};
  }
}

}  // namespace plait::inline v0_1
