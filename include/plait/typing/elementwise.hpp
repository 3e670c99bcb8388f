#pragma once
// Ops that work element by element, or row by row over the last dim.
#include "plait/typing/result.hpp"

namespace plait::inline v0_1::typing {

using k = placement_kind;

constexpr typed_placement nonlinear(placement_value x) {
  if (x.kind == k::partial) return type_error::partial_nonlinear;
  if (x.kind == k::partial_max) return type_error::not_differentiable;
  return x;
}

/// sigmoid, silu, casts of unlike precision ...: keeps everything but a pending sum.
constexpr typed elementwise(const layout_value& x) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) out.set(a, nonlinear(x.at[a]));
  return out.finish(x);
}

/// factor * x: keeps everything but a pending maximum, which a negative factor would make a minimum.
constexpr typed scale(const layout_value& x) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a)
    out.set(a, x.at[a].kind == k::partial_max ? typed_placement(type_error::not_differentiable) : typed_placement(x.at[a]));
  return out.finish(x);
}

/// Two operands of one shape combined by a non-linear function (silu(gate) * up): equal placements, no pending sum.
constexpr typed elementwise(const layout_value& x, const layout_value& y) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a], q = y.at[a];
    if (p.kind == k::partial && q.kind == k::partial) {
      out.set(a, type_error::partial_times_partial);
    } else if (p == q) {
      out.set(a, nonlinear(p));
    } else if (p.kind == k::invariant || q.kind == k::invariant) {
      out.set(a, type_error::invariant_mixed);
    } else {
      out.set(a, p.kind == k::partial || q.kind == k::partial ? type_error::partial_nonlinear : type_error::placement_mismatch);
    }
  }
  return if_same_order(out.finish(x), x, y);
}

/// factor(gate) * x with one gate a row, gate [..., 1]: linear in x, so a pending sum and a cut last dim pass where the gate is
/// Replicate (its gradient is then a pending sum, too).
constexpr typed row_gate(const layout_value& x, int rank, const layout_value& gate) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a], g = gate.at[a];
    if (p.kind == k::partial_max || g.kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if (g.kind == k::partial) {
      out.set(a, p.kind == k::partial ? type_error::partial_times_partial : type_error::partial_nonlinear);
    } else if ((p.kind == k::invariant) != (g.kind == k::invariant)) {
      out.set(a, type_error::invariant_mixed);
    } else if (p.kind == k::partial || p.cuts(rank - 1)) {
      out.set(a, g.kind == k::replicate ? typed_placement(p) : typed_placement(type_error::placement_mismatch));
    } else {
      out.set(a, p == g ? typed_placement(p) : typed_placement(type_error::placement_mismatch));
    }
  }
  typed t = out.finish(x);
  for (int d = 0; d + 1 < rank; ++d) t = if_nested_alike(t, x, d, gate, d);
  return t;
}

/// x + y: equal placements; a pending sum plus a pending sum is one.
constexpr typed add(const layout_value& x, const layout_value& y) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a], q = y.at[a];
    if (p == q) {
      out.set(a, p.kind == k::partial_max ? typed_placement(type_error::not_differentiable) : typed_placement(p));
    } else if (p.kind == k::partial || q.kind == k::partial) {
      out.set(a, type_error::partial_plus_replicate);
    } else if (p.kind == k::invariant || q.kind == k::invariant) {
      out.set(a, type_error::invariant_mixed);
    } else {
      out.set(a, type_error::placement_mismatch);
    }
  }
  return if_same_order(out.finish(x), x, y);
}

/// Row-local ops over the last dim with a vector weight of that dim (rms_norm). The weight is Replicate where rows are cut (its
/// gradient is then a pending sum, derived, no style needed) and Invariant where the rows are.
constexpr typed row_norm(const layout_value& x, int rank, const layout_value& weight) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a], w = weight.at[a];
    if (p.kind == k::partial) {
      out.set(a, type_error::partial_nonlinear);
    } else if (p.cuts(rank - 1) || w.cuts()) {
      out.set(a, type_error::row_cut);
    } else if ((p.kind == k::invariant) != (w.kind == k::invariant)) {
      out.set(a, type_error::invariant_mixed);
    } else if (w.kind == k::partial_max || p.kind == k::partial_max) {
      out.set(a, type_error::not_differentiable);
    } else if (w.kind != k::replicate && w.kind != k::invariant) {
      out.set(a, w.kind == k::partial ? type_error::partial_nonlinear : type_error::placement_mismatch);
    } else {
      out.set(a, of_whole_rows(p, p));
    }
  }
  return out.finish(x);
}

/// Row-local ops over the last dim without a weight (softmax, top-k).
constexpr typed row_local(const layout_value& x, int rank) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a)
    out.set(a, x.at[a].cuts(rank - 1) ? typed_placement(type_error::row_cut) : nonlinear(x.at[a]));
  return out.finish(x);
}

/// silu(gate) * up over a packed last dim: StridedShard<last, 2> becomes Shard<last>.
constexpr typed packed_gate(const layout_value& x, int rank) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a];
    if (p.cuts(rank - 1)) {
      const bool packed = p.kind == k::strided_shard && p.sections == 2;
      if (packed) {
        out.set(a, placement_value{k::shard, p.dim, 1});
      } else {
        out.set(a, type_error::packed_mismatch);
      }
    } else {
      out.set(a, nonlinear(p));
    }
  }
  return out.finish(x);
}

/// The same where gate and up alternate: pairs stay together under a plain cut (of units of two), a cut section by section parts them.
constexpr typed paired_gate(const layout_value& x, int rank) {
  layout_collector out(x.atoms);
  for (int a = 0; a < x.atoms; ++a) {
    const placement_value p = x.at[a];
    if (p.cuts(rank - 1)) out.set(a, p.kind == k::shard ? typed_placement(p) : typed_placement(type_error::packed_mismatch));
    else out.set(a, nonlinear(p));
  }
  return out.finish(x);
}

}  // namespace plait::inline v0_1::typing
