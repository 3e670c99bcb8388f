#pragma once
// Routing tokens to experts within a rank, and back. What the experts' communication must be follows from these two rules.
#include "plait/typing/result.hpp"

namespace plait::inline v0_1::typing {

/// Rows for experts, from tokens x[..., H]. `experts` is the layout of the expert weights (dim 0 = experts).
///   experts cut, tokens Replicate -> Ragged (each rank picks its experts' rows)
///   tokens cut                    -> RaggedByToken (each rank has its own tokens' rows; where the experts are cut, too, they are yet
///                                    to be sent, and on all those axes or on none)
///   experts whole, tokens Replicate -> Replicate
constexpr typed dispatch(const layout_value& x, int x_rank, const layout_value& experts) {
  using k = placement_kind;
  layout_collector out(x.atoms);
  bool sends = false;
  for (int a = 0; a < x.atoms; ++a) sends = sends || (experts.at[a].cuts(0) && x.at[a].cuts());
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a];
    const bool experts_cut = experts.at[a].cuts(0);
    if (experts_cut && experts.at[a].kind != k::shard) {
      out.set(a, type_error::placement_mismatch);  // the experts of a rank are one range of their numbers
    } else if (p.kind == k::partial) {
      out.set(a, type_error::partial_nonlinear);
    } else if (p.kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if (p.kind == k::invariant) {
      out.set(a, experts_cut || experts.at[a].kind != k::invariant ? typed_placement(type_error::invariant_mixed) : typed_placement(p));
    } else if (p.cuts(x_rank - 1)) {
      out.set(a, type_error::row_cut);
    } else if (p.cuts()) {
      out.set(a, RaggedByToken::value);
    } else if (experts_cut && p.kind == k::ragged) {
      out.set(a, type_error::tokens_cut_over_experts);
    } else if (experts_cut && sends) {
      out.set(a, type_error::tokens_half_cut);
    } else {
      out.set(a, experts_cut ? typed_placement(Ragged::value) : typed_placement(p));
    }
  }
  return out.finish(x);
}

/// Rows where their experts are: on axes that cut the experts, what lies by token is to be exchanged.
constexpr layout_value with_experts(layout_value rows, const layout_value& experts) {
  for (int a = 0; a < rows.atoms; ++a)
    if (rows.at[a].by_token() && experts.at[a].cuts(0)) rows.at[a] = Ragged::value;
  return rows;
}
/// Rows where their tokens are.
constexpr layout_value with_tokens(layout_value rows, const layout_value& tokens) {
  for (int a = 0; a < rows.atoms; ++a)
    if (rows.at[a] == Ragged::value && tokens.at[a].cuts()) rows.at[a] = RaggedByToken::value;
  return rows;
}

/// The way back: rows weighted by scores (laid out as the tokens were) and summed per token. Where each rank had picked its experts'
/// rows, the ranks' results are addends (Partial); where the tokens are cut, each rank has its own tokens' rows. Rows are [slots, H],
/// the result has `tokens_rank` dims.
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
    } else if (r.by_token()) {
      out.set(a, t.cuts() ? typed_placement(t) : typed_placement(type_error::placement_mismatch));
    } else if (r.kind == k::ragged) {
      if (t.cuts()) out.set(a, type_error::rows_with_experts);
      else out.set(a, t.kind == k::replicate ? typed_placement(Partial::value) : typed_placement(t));
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
