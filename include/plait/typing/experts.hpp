#pragma once
// Routing tokens to experts within a rank, and back. What the experts' communication must be follows from these two rules.
#include "plait/typing/result.hpp"

namespace plait::inline v0_1::typing {

/// Rows for the local experts, from tokens x[..., H]. `experts` is the layout of the expert weights (dim 0 = experts).
///   experts cut, tokens Replicate -> Ragged (each rank picks its experts' rows)
///   experts cut, tokens cut or Ragged -> error: gather the tokens over that axis first
///   experts whole, tokens cut     -> Ragged (each rank has its own tokens' rows)
///   experts whole, tokens Replicate -> Replicate
constexpr typed dispatch(const layout_value& x, int x_rank, const layout_value& experts) {
  using k = placement_kind;
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a];
    const bool experts_cut = experts.at[a].cuts(0);
    if (p.kind == k::partial) {
      out.set(a, type_error::partial_nonlinear);
    } else if (p.kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if (p.kind == k::invariant) {
      out.set(a, experts_cut || experts.at[a].kind != k::invariant ? typed_placement(type_error::invariant_mixed) : typed_placement(p));
    } else if (p.cuts(x_rank - 1)) {
      out.set(a, type_error::row_cut);
    } else if (p.cuts()) {
      out.set(a, experts_cut ? typed_placement(type_error::tokens_cut_over_experts)
                             : typed_placement(placement_value{k::ragged, 0, 1}));
    } else if (experts_cut && p.kind == k::ragged) {
      out.set(a, type_error::tokens_cut_over_experts);
    } else {
      out.set(a, experts_cut ? typed_placement(placement_value{k::ragged, 0, 1}) : typed_placement(p));
    }
  }
  return out.finish(x);
}

/// The way back: rows weighted by scores (laid out as the tokens were) and summed per token. Where the experts were cut, the
/// ranks' results are addends (Partial); where the tokens were, each rank has its own tokens again. Rows are [slots, H], the
/// result has `tokens_rank` dims.
constexpr typed combine(const layout_value& rows, const layout_value& tokens, int tokens_rank) {
  using k = placement_kind;
  layout_collector out(rows.atoms);
  for (int a = 0; a < rows.atoms; ++a) {
    placement_value r = rows.at[a];
    const placement_value t = tokens.at[a];
    if (r.kind == k::partial_max || t.kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if (t.kind == k::partial) {
      out.set(a, r.kind == k::partial ? type_error::partial_times_partial : type_error::placement_mismatch);
    } else if ((r.kind == k::invariant) != (t.kind == k::invariant)) {
      out.set(a, type_error::invariant_mixed);
    } else if (r.kind == k::ragged) {
      out.set(a, t.kind == k::replicate ? typed_placement(placement_value{k::partial, 0, 1}) : typed_placement(t));
    } else if (r.kind == k::partial) {
      out.set(a, t.kind == k::replicate ? typed_placement(r) : typed_placement(type_error::partial_times_partial));
    } else if (r.cuts()) {  // rows' last dim is cut: the output's last dim is, too
      r.dim = static_cast<std::int8_t>(tokens_rank - 1);
      out.set(a, t.kind == k::replicate ? typed_placement(r) : typed_placement(type_error::axis_cuts_twice));
    } else {
      out.set(a, r == t ? typed_placement(r) : typed_placement(type_error::placement_mismatch));
    }
  }
  return out.finish(tokens, rows);
}

}  // namespace plait::inline v0_1::typing
