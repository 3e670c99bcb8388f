#pragma once
// A bias an expert, on dispatched rows.
#include "plait/ops/experts.hpp"

namespace plait::inline v0_1 {
namespace detail {
template <class X, class B>
struct expert_bias_verdict {
  static constexpr typed value = typing::expert_bias(X::layout_type::value, B::layout_type::value);
};
}  // namespace detail

/// y[p, :] = rows[p, :] + bias[e(p), :], bias [E, out] with experts and columns cut as the rows'. To a pending sum only a pending bias
/// can be added: what every rank holds would be counted once per rank.
template <class X, class Experts, class Tokens, class B>
auto bias_experts(context& c, const dispatched<X, Experts, Tokens>& d, const B& bias) {
  using verdict = detail::expert_bias_verdict<X, B>;
  using rows = detail::result_t<typename X::element, typename X::extents_type, typename X::mesh, verdict>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename X::element, typename B::element>, X, B>::ok &&
                        check::extents_agree<B::rank == 2 && compatible(detail::last_extent<X>, detail::last_extent<B>), X, B>::ok;
  if constexpr (fits && detail::accept<typename X::mesh, verdict, X, B>::ok &&
                check::rows_meet_the_experts_they_were_dispatched_to<(!verdict::value.ok() || detail::same_experts<Experts, B>()), Experts, B>::ok) {
    detail::require_extents(d.rows.data().global[1] == bias.data().global[1], "bias_experts: the rows' extent is not the bias's");
    detail::require_extents(d.offsets.local.extent[0] == bias.data().local.extent[0] + 1, "bias_experts: the rows were dispatched to another number of experts");
    return detail::with_rows(d, rows(runtime::expert_bias(c, d.rows.data(), bias.data(), d.offsets, verdict::value.out)));
  } else {
    return detail::with_rows(d, rows(d.rows.data()));
  }
}

namespace detail {
/// b [E, out] with pending sums where the rows are pending.
template <class Rows, class Bias>
constexpr layout_value pending_as(const layout_value& rows, const layout_value& bias) {
  layout_builder b(bias.atoms);
  for (int c = 0; c < bias.cuts; ++c) b.place(bias.cut[c], bias.at[bias.cut[c]]);
  for (int a = 0; a < bias.atoms; ++a)
    if (!bias.at[a].cuts()) b.place(a, rows.at[a].kind == placement_kind::partial ? Partial::value : bias.at[a]);
  return b.value;
}
template <class Rows, class Bias>
struct pending_bias_layout {
  static constexpr layout_value value = pending_as<Rows, Bias>(Rows::layout_type::value, Bias::layout_type::value);
  static constexpr layout_code code = encode(value);
  using type = layout_of_code_t<typename Bias::mesh, code.places, code.order>;
};
}  // namespace detail

/// The bias where the rows are a pending sum: one rank's addend, zeros on the others, so that the sum has it once.
template <class X, class Experts, class Tokens, class B>
auto pending_with(context& c, const B& bias, const dispatched<X, Experts, Tokens>&) {
  return redistribute<typename detail::pending_bias_layout<X, B>::type>(c, bias);
}

}  // namespace plait::inline v0_1
