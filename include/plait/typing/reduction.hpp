#pragma once
// Sums, maxima, reshapes of the last dim, and whole-layout redistribution.
#include "plait/tensor/stages.hpp"
#include "plait/typing/result.hpp"

namespace plait::inline v0_1::typing {

/// Sum over all dims but the last `kept`: a cut summed dim gives a pending sum.
constexpr typed sum_leading(const layout_value& x, int rank, int kept) {
  using k = placement_kind;
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    placement_value p = x.at[a];
    if (p.kind == k::partial_max || p.kind == k::ragged) {
      out.set(a, p.kind == k::ragged ? type_error::placement_mismatch : type_error::not_differentiable);
    } else if (p.cuts() && p.dim < rank - kept) {
      out.set(a, placement_value{k::partial, 0, 1});
    } else {
      if (p.cuts()) p.dim = static_cast<std::int8_t>(p.dim - (rank - kept));
      out.set(a, p);
    }
  }
  return out.finish(x);
}

/// Maximum over the last dim: a cut last dim gives PartialMax.
constexpr typed max_last(const layout_value& x, int rank) {
  using k = placement_kind;
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a];
    if (p.kind == k::partial) {
      out.set(a, type_error::partial_nonlinear);
    } else if (p.cuts(rank - 1)) {
      out.set(a, placement_value{k::partial_max, 0, 1});
    } else {
      out.set(a, p);
    }
  }
  return out.finish(x);
}

/// Sum of a non-linear function over the last dim, given a per-row value the ranks agree on (vocabulary-parallel softmax).
constexpr typed sum_last(const layout_value& x, int rank) {
  using k = placement_kind;
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a];
    if (p.kind == k::partial) {
      out.set(a, type_error::partial_nonlinear);
    } else if (p.kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if (p.cuts(rank - 1)) {
      out.set(a, p.kind == k::shard ? typed_placement(placement_value{k::partial, 0, 1})
                                    : typed_placement(type_error::packed_mismatch));
    } else {
      out.set(a, p);
    }
  }
  return out.finish(x);
}

/// [..., heads * d] -> [..., heads, d]: a cut of the last dim stays outermost, on heads. StridedShard cannot be split.
constexpr typed split_last(const layout_value& x, int rank) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a];
    out.set(a, p.kind == placement_kind::strided_shard && p.dim == rank - 1 ? typed_placement(type_error::reshape_cut)
                                                                             : typed_placement(p));
  }
  return out.finish(x);
}

/// [..., heads, d] -> [..., heads * d]: heads may be cut, d may not.
constexpr typed merge_last(const layout_value& x, int rank) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a)
    out.set(a, x.at[a].cuts(rank - 1) ? typed_placement(type_error::reshape_cut) : typed_placement(x.at[a]));
  return out.finish(x);
}

/// Causal attention over [B, S, heads, d]: whole sequences, whole heads; q, k and v laid out alike.
constexpr typed attention(const layout_value& q, const layout_value& key) {
  using k = placement_kind;
  layout_collector out(q.atoms);
  for (int a = 0; a < q.atoms; ++a) {
    const placement_value p = q.at[a];
    if (p.kind == k::partial) {
      out.set(a, type_error::partial_nonlinear);
    } else if (p.kind == k::partial_max || key.at[a].kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if (!(p == key.at[a])) {
      out.set(a, p.kind == k::invariant || key.at[a].kind == k::invariant ? type_error::invariant_mixed
                                                                         : type_error::placement_mismatch);
    } else if (p.cuts(1) || p.cuts(3)) {
      out.set(a, type_error::row_cut);
    } else {
      out.set(a, p);
    }
  }
  return if_same_order(out.finish(q), q, key);
}

/// A number a head, [heads], beside q [B, S, heads, d]: cut where the heads are, else Replicate (its gradient is then a pending sum
/// wherever q is cut) or Invariant as q is.
constexpr typed per_head(const layout_value& q, const layout_value& numbers) {
  using k = placement_kind;
  layout_collector out(q.atoms);
  for (int a = 0; a < q.atoms; ++a) {
    const placement_value p = q.at[a], n = numbers.at[a];
    if (p.kind == k::partial || n.kind == k::partial) {
      out.set(a, type_error::partial_nonlinear);
    } else if (p.kind == k::partial_max || n.kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if ((p.kind == k::invariant) != (n.kind == k::invariant)) {
      out.set(a, type_error::invariant_mixed);
    } else if (p.cuts(2) || n.cuts()) {
      out.set(a, p.kind == k::shard && p.cuts(2) && n.kind == k::shard ? typed_placement(p) : typed_placement(type_error::placement_mismatch));
    } else {
      out.set(a, p);
    }
  }
  return if_nested_alike(out.finish(q), q, 2, numbers, 0);
}

/// Axis-wise redistribution of a whole layout. `adjoint_only` admits the gated moves.
constexpr typed redistribute(const layout_value& x, const layout_value& target, bool adjoint_only) {
  typed result;
  result.out = target;
  for (int a = 0; a < x.atoms && result.ok(); ++a) {
    const redistribution_rule rule = redistribution(x.at[a], target.at[a]);
    type_error error = type_error::none;
    if (x.at[a] == target.at[a]) continue;
    if (rule.kind == move::illegal) error = type_error::no_single_collective;
    if (rule.adjoint_only && !adjoint_only) error = type_error::adjoint_only;
    if (error != type_error::none) {
      result.error = error;
      result.atom = a;
    }
  }
  if (!result.ok()) return result;
  // Of the axes that cut one dim, those that move must be the innermost, before and after, and at every stage on the way there
  // and of the adjoint.
  std::uint32_t moving = 0;
  int first = 0;
  for (int a = x.atoms - 1; a >= 0; --a)
    if (!(x.at[a] == target.at[a])) moving |= 1u << a, first = a;
  int blocked = detail::in_the_way(x, target, moving, nullptr);
  if (blocked < 0 && !detail::stages_exist(x, target)) blocked = first;
  if (blocked >= 0) {
    result.error = type_error::not_innermost;
    result.atom = blocked;
  }
  return result;
}

}  // namespace plait::inline v0_1::typing
