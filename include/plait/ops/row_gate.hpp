#pragma once
// A gate with one number a row: how much of an expert's output a token takes.
#include "plait/ops/dense.hpp"

namespace plait::inline v0_1 {
namespace detail {
template <class X, class G>
struct row_gate_verdict {
  static constexpr typed value = typing::row_gate(X::layout_type::value, X::rank, G::layout_type::value);
};
}  // namespace detail

/// y[..., i] = sigmoid(gate[..., 0]) * x[..., i]. gate: [..., 1], rows as x's. A pending sum x stays one.
template <class X, class G>
auto gate_rows(context& c, const X& x, const G& gate) {
  static_assert(X::rank == G::rank);
  using verdict = detail::row_gate_verdict<X, G>;
  using result = detail::result_t<typename X::element, typename X::extents_type, typename X::mesh, verdict>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename X::element, typename G::element>, X, G>::ok &&
                        check::extents_agree<compatible(detail::last_extent<G>, 1), X, G>::ok;
  if constexpr (fits && detail::accept<typename X::mesh, verdict, X, G>::ok) {
    detail::require_extents(gate.data().global[G::rank - 1] == 1, "gate_rows: the gate has one number a row");
    detail::require_alike(x.data(), gate.data(), X::rank - 1, "gate_rows: the operands have unlike rows");
    return result(runtime::gate_rows(c, x.data(), gate.data(), verdict::value.out));
  } else {
    return result(x.data());
  }
}

}  // namespace plait::inline v0_1
