#pragma once
// Heads and their columns: taking columns apart, putting them together, repeating heads. All linear, so a pending sum passes.
#include "plait/typing/result.hpp"

namespace plait::inline v0_1::typing {

/// x[..., a + b] -> [..., a] and [..., b]; also [..., d] -> [..., 1, d]: the last dim must be whole.
constexpr typed split_columns(const layout_value& x, int rank) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a];
    if (p.kind == placement_kind::partial_max) out.set(a, type_error::not_differentiable);
    else out.set(a, p.cuts(rank - 1) ? typed_placement(type_error::row_cut) : typed_placement(p));
  }
  return out.finish(x);
}

/// x[..., a] and y[..., b] -> [..., a + b]: laid out alike, the last dim whole.
constexpr typed join_columns(const layout_value& x, const layout_value& y, int rank) {
  using k = placement_kind;
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a], q = y.at[a];
    if (p.kind == k::partial_max || q.kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if (p.cuts(rank - 1) || q.cuts(rank - 1)) {
      out.set(a, type_error::row_cut);
    } else if (p == q) {
      out.set(a, p);
    } else if (p.kind == k::invariant || q.kind == k::invariant) {
      out.set(a, type_error::invariant_mixed);
    } else {
      out.set(a, p.kind == k::partial || q.kind == k::partial ? type_error::partial_plus_replicate : type_error::placement_mismatch);
    }
  }
  return if_same_order(out.finish(x), x, y);
}

/// x[..., h, d] -> [..., H, d], each head H / h times in a row, laid out as `wanted`: where that cuts the heads, x may be Replicate
/// (each rank makes those it needs; the gradient is a pending sum) or cut likewise. Elsewhere x lies as wanted.
constexpr typed repeat_heads(const layout_value& x, int rank, const layout_value& wanted) {
  using k = placement_kind;
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a], q = wanted.at[a];
    if (p.kind == k::partial_max || q.kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if (p.cuts(rank - 1) || q.cuts(rank - 1)) {
      out.set(a, type_error::row_cut);
    } else if (p.kind == k::strided_shard && p.cuts(rank - 2)) {
      out.set(a, type_error::reshape_cut);
    } else if (p == q || (q.kind == k::shard && q.cuts(rank - 2) && p.kind == k::replicate)) {
      out.set(a, q);
    } else {
      out.set(a, p.kind == k::invariant || q.kind == k::invariant ? type_error::invariant_mixed : type_error::placement_mismatch);
    }
  }
  typed t = out.finish(wanted);
  for (int d = 0; d < rank; ++d) t = if_nested_alike(t, x, d, wanted, d);
  return t;
}

}  // namespace plait::inline v0_1::typing
