#pragma once
// What a typing function says: the output layout, or which rule is broken and on which atom.
#include "plait/tensor/layout_value.hpp"

namespace plait::inline v0_1 {

enum class type_error {
  none,
  partial_nonlinear,
  partial_times_partial,
  partial_plus_replicate,
  invariant_mixed,
  contraction_mismatch,
  axis_cuts_twice,
  placement_mismatch,
  packed_mismatch,
  row_cut,
  tokens_cut_over_experts,
  tokens_half_cut,
  rows_with_experts,
  not_differentiable,
  not_innermost,
  no_single_collective,
  adjoint_only,
  reshape_cut,
};

struct typed {
  type_error error = type_error::none;
  int atom = -1;
  layout_value out{};

  constexpr bool ok() const { return error == type_error::none; }
};

/// Cuts that agree axis by axis must also nest in the same order: in another order the ranks hold other pieces. Compares the
/// cuts of dim `x_dim` of x with those of dim `y_dim` of y, of which there are as many.
constexpr typed if_nested_alike(typed result, const layout_value& x, int x_dim, const layout_value& y, int y_dim) {
  int i = 0, j = 0;
  while (result.ok()) {
    while (i < x.cuts && x.at[x.cut[i]].dim != x_dim) ++i;
    while (j < y.cuts && y.at[y.cut[j]].dim != y_dim) ++j;
    if (i == x.cuts || j == y.cuts) break;
    if (x.cut[i] != y.cut[j]) {
      result.error = type_error::placement_mismatch;
      result.atom = x.cut[i];
    }
    ++i;
    ++j;
  }
  return result;
}
/// The same for operands whose placements are equal on every axis.
constexpr typed if_same_order(typed result, const layout_value& x, const layout_value& y) {
  for (int c = 0; result.ok() && c < x.cuts; ++c)
    if (x.cut[c] != y.cut[c]) {
      result.error = type_error::placement_mismatch;
      result.atom = x.cut[c];
    }
  return result;
}

/// One axis at a time: what an op makes of its operands' placements there.
struct typed_placement {
  type_error error = type_error::none;
  placement_value out{};
  constexpr typed_placement(type_error e) : error(e) {}
  constexpr typed_placement(placement_value p) : out(p) {}
};

/// The same, unless x is ragged rows: a rank's buffer has more slots than rows, so an op with a gradient that sums over all slots (a
/// weight's, a bias's) must know their count. Rows by token fill their slots.
constexpr typed_placement of_whole_rows(placement_value x, typed_placement p) {
  return p.error == type_error::none && x == Ragged::value ? typed_placement(type_error::placement_mismatch) : p;
}

/// Builds an output layout from per-atom results; the cut order of a dim is that of the operand `order` names first.
class layout_collector {
 public:
  constexpr explicit layout_collector(int atoms) { result_.out.atoms = atoms; }
  constexpr void set(int atom, typed_placement p) {
    if (p.error != type_error::none && result_.ok()) {
      result_.error = p.error;
      result_.atom = atom;
    }
    place_[atom] = p.out;
  }
  /// Adds the cuts that `operand` orders, then whatever is left in mesh order.
  constexpr typed finish(const layout_value& first, const layout_value& second) const {
    layout_builder builder(result_.out.atoms);
    bool done[max_atoms] = {};
    order(builder, first, done);
    order(builder, second, done);
    for (int a = 0; a < result_.out.atoms; ++a)
      if (!done[a]) builder.place(a, place_[a]);
    typed out = result_;
    out.out = builder.value;
    return out;
  }
  constexpr typed finish(const layout_value& only) const { return finish(only, only); }

 private:
  constexpr void order(layout_builder& builder, const layout_value& operand, bool* done) const {
    for (int c = 0; c < operand.cuts; ++c) {
      const int a = operand.cut[c];
      if (done[a]) continue;
      done[a] = true;
      builder.place(a, place_[a]);
    }
  }
  typed result_{};
  placement_value place_[max_atoms] = {};
};

}  // namespace plait::inline v0_1
