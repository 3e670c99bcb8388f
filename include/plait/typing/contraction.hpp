#pragma once
// Products: linear, linear over experts, embedding. All 16 placement pairs of linear were checked by brute force; see tests/.
#include "plait/typing/result.hpp"

namespace plait::inline v0_1::typing {

/// y[..., out] = x[..., in] W[out, in]^T on one axis; W's out is dim `w_out`, its in dim `w_in`.
constexpr typed_placement contract(placement_value x, int x_rank, placement_value w, int w_out, int w_in) {
  using k = placement_kind;
  const std::int8_t last = static_cast<std::int8_t>(x_rank - 1);
  if (x.kind == k::partial_max || w.kind == k::partial_max) return type_error::not_differentiable;
  if (x.kind == k::partial && w.kind == k::partial) return type_error::partial_times_partial;
  if ((x.kind == k::invariant) != (w.kind == k::invariant)) return type_error::invariant_mixed;
  if (x.kind == k::invariant) return x;
  if (x.cuts(last) != w.cuts(w_in)) return type_error::contraction_mismatch;
  if (x.cuts(last)) {
    if (x.kind != w.kind || x.sections != w.sections) return type_error::packed_mismatch;
    return placement_value{k::partial, 0, 1};
  }
  if (w.cuts(w_out)) {
    if (x.kind == k::replicate) return placement_value{w.kind, last, w.sections};
    return x.kind == k::partial ? type_error::partial_plus_replicate : type_error::axis_cuts_twice;
  }
  if (w.kind == k::partial) return x.kind == k::replicate ? typed_placement(w) : typed_placement(type_error::axis_cuts_twice);
  if (w.kind != k::replicate) return type_error::placement_mismatch;
  return x;  // R, S(other), P and Ragged pass; W's gradient is a pending sum wherever x is cut
}

constexpr layout_value as_last_dim(const layout_value& w, int w_out, int last) {
  layout_value moved = w;
  for (int a = 0; a < w.atoms; ++a)
    if (moved.at[a].cuts(w_out)) moved.at[a].dim = static_cast<std::int8_t>(last);
  return moved;
}

constexpr typed linear(const layout_value& x, int x_rank, const layout_value& w) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) out.set(a, of_whole_rows(x.at[a], contract(x.at[a], x_rank, w.at[a], 0, 1)));
  return if_nested_alike(out.finish(x, as_last_dim(w, 0, x_rank - 1)), x, x_rank - 1, w, 1);
}

/// rows[slots, in] routed to the experts of W[E, out, in], whose out and in may be other dims. Where the experts are cut (expert
/// parallelism) the rows must already be Ragged: each rank holds its own experts' rows.
constexpr typed grouped_linear(const layout_value& rows, const layout_value& w, int w_out = 1, int w_in = 2) {
  using k = placement_kind;
  layout_collector out(rows.atoms);
  for (int a = 0; a < rows.atoms; ++a) {
    if (w.at[a].cuts(0)) {
      if (rows.at[a].by_token()) out.set(a, type_error::tokens_cut_over_experts);
      else out.set(a, rows.at[a].kind == k::ragged ? typed_placement(rows.at[a]) : typed_placement(type_error::placement_mismatch));
    } else {
      out.set(a, contract(rows.at[a], 2, w.at[a], w_out, w_in));
    }
  }
  return if_nested_alike(out.finish(rows, as_last_dim(w, w_out, 1)), rows, 1, w, w_in);
}

/// y = x + b over the last dim: b is cut as the last dim is, Replicate or Invariant as x elsewhere; never onto a pending sum.
constexpr typed bias_add(const layout_value& x, int x_rank, const layout_value& b) {
  using k = placement_kind;
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a], q = b.at[a];
    if (p.kind == k::partial) {
      out.set(a, q.kind == k::partial_max ? type_error::not_differentiable : type_error::partial_plus_replicate);
    } else if (p.kind == k::partial_max || q.kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if ((p.kind == k::invariant) != (q.kind == k::invariant)) {
      out.set(a, type_error::invariant_mixed);
    } else if (q.kind == k::ragged) {
      out.set(a, type_error::placement_mismatch);
    } else if (p.cuts(x_rank - 1)) {
      if (q.cuts() && (q.kind != p.kind || q.sections != p.sections)) {
        out.set(a, type_error::packed_mismatch);
      } else {
        out.set(a, q.cuts() ? typed_placement(p) : typed_placement(type_error::contraction_mismatch));
      }
    } else {
      out.set(a, q.cuts() || q.kind == k::partial ? typed_placement(type_error::contraction_mismatch) : of_whole_rows(p, p));
    }
  }
  return if_nested_alike(out.finish(x), x, x_rank - 1, b, 0);
}

/// rows[slots, out] + b[E, out] of each row's expert: experts cut where the rows are Ragged for it, columns cut alike, a pending bias
/// onto a pending sum.
constexpr typed expert_bias(const layout_value& rows, const layout_value& b) {
  using k = placement_kind;
  layout_collector out(rows.atoms);
  for (int a = 0; a < rows.atoms; ++a) {
    const placement_value p = rows.at[a], q = b.at[a];
    if (p.kind == k::partial_max || q.kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if ((p.kind == k::partial) != (q.kind == k::partial)) {
      out.set(a, type_error::partial_plus_replicate);
    } else if (p.kind == k::partial) {
      out.set(a, p);
    } else if ((p.kind == k::invariant) != (q.kind == k::invariant)) {
      out.set(a, type_error::invariant_mixed);
    } else if (q.cuts(0)) {
      if (p.by_token()) out.set(a, type_error::tokens_cut_over_experts);
      else out.set(a, p.kind == k::ragged ? typed_placement(p) : typed_placement(type_error::placement_mismatch));
    } else if (p.cuts(1) || q.cuts()) {
      if (p.cuts(1) && q.cuts(1) && p == q) out.set(a, p);
      else out.set(a, p.cuts(1) && q.cuts(1) ? type_error::packed_mismatch : type_error::contraction_mismatch);
    } else {
      out.set(a, p);
    }
  }
  return if_nested_alike(out.finish(rows), rows, 1, b, 1);
}

/// ids[...] into table[V, H]: a vocabulary-sharded table gives a pending sum; a dim-sharded one a cut last dim.
constexpr typed embedding(const layout_value& ids, int ids_rank, const layout_value& table) {
  using k = placement_kind;
  layout_collector out(ids.atoms);
  for (int a = 0; a < ids.atoms; ++a) {
    const placement_value p = ids.at[a], w = table.at[a];
    const bool whole = p.kind == k::replicate || p.kind == k::invariant;
    if (p.kind == k::partial) {
      out.set(a, type_error::partial_nonlinear);
    } else if (p.kind == k::partial_max || w.kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if (w.kind == k::partial || w.kind == k::ragged || (w.cuts(0) && w.kind != k::shard)) {
      out.set(a, type_error::placement_mismatch);  // the ids of a rank are one range of the vocabulary
    } else if (w.cuts(0)) {
      out.set(a, whole ? typed_placement(placement_value{k::partial, 0, 1}) : typed_placement(type_error::axis_cuts_twice));
    } else if (w.cuts(1)) {
      out.set(a, whole ? typed_placement(placement_value{w.kind, static_cast<std::int8_t>(ids_rank), w.sections})
                       : typed_placement(type_error::axis_cuts_twice));
    } else if (w.kind == k::invariant) {
      out.set(a, whole ? typed_placement(w) : typed_placement(type_error::invariant_mixed));
    } else {
      out.set(a, p.kind == k::invariant ? typed_placement(w) : typed_placement(p));
    }
  }
  return out.finish(ids, as_last_dim(table, 1, ids_rank));
}

}  // namespace plait::inline v0_1::typing
