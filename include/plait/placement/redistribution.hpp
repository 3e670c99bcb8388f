#pragma once
// The one table: which placement can become which on one mesh axis, and what that is. There is no second table for backward:
// the adjoint of s -> d is redistribution(grad_of(d), grad_of(s)), checked by brute force over all pairs in tests/.
#include "plait/placement/placement.hpp"

namespace plait::inline v0_1 {

enum class move : std::uint8_t {
  none,            // nothing to do
  identity,        // same data, new meaning: I -> R, and its adjoint R -> I
  slice,           // keep the own piece
  pad,             // write the own piece into zeros
  root,            // keep on the first rank of the axis, zeros elsewhere
  all_gather,
  all_reduce,
  reduce_scatter,
  all_to_all,
  all_reduce_max,
  exchange,        // all-to-all with counts, between the ranks of rows' tokens and those of their experts
  forget,          // enter a local region: type only
  claim,           // leave a local region with counts checked
  illegal,
};

struct redistribution_rule {
  move kind = move::illegal;
  bool adjoint_only = false;  // legal only as somebody's adjoint (or with the explicit tag)
};

constexpr bool communicates(move m) {
  return m == move::all_gather || m == move::all_reduce || m == move::reduce_scatter || m == move::all_to_all ||
         m == move::all_reduce_max || m == move::exchange;
}

constexpr const char* name_of(move m) {
  switch (m) {
    case move::none: return "none";
    case move::identity: return "identity";
    case move::slice: return "slice";
    case move::pad: return "pad";
    case move::root: return "root";
    case move::all_gather: return "all_gather";
    case move::all_reduce: return "all_reduce";
    case move::reduce_scatter: return "reduce_scatter";
    case move::all_to_all: return "all_to_all";
    case move::all_reduce_max: return "all_reduce_max";
    case move::exchange: return "exchange";
    case move::forget: return "forget";
    case move::claim: return "claim";
    case move::illegal: return "illegal";
  }
  return "?";
}

/// What one collective (or none) turns `from` into `to` on one axis. Dims are resolved (non-negative).
constexpr redistribution_rule redistribution(placement_value from, placement_value to) {
  using k = placement_kind;
  if (from == to) return {from.kind == k::partial_max ? move::illegal : move::none};
  switch (from.kind) {
    case k::replicate:
      if (to.kind == k::invariant) return {move::identity, true};
      if (to.cuts()) return {move::slice};
      if (to.kind == k::partial) return {move::root};
      break;
    case k::invariant:
      if (to.kind == k::replicate) return {move::identity};
      if (to.cuts()) return {move::slice};
      if (to.kind == k::partial) return {move::root, true};
      break;
    case k::shard:
    case k::strided_shard:
      if (to.kind == k::replicate || to.kind == k::invariant) return {move::all_gather};
      if (to.kind == k::partial) return {move::pad, true};
      if (from.kind == k::shard && to.kind == k::shard) return {move::all_to_all};
      if (from.kind == k::shard && to == Ragged::value) return {move::forget};
      break;
    case k::partial:
      if (to.kind == k::replicate || to.kind == k::invariant) return {move::all_reduce};
      if (to.cuts()) return {move::reduce_scatter};
      break;
    case k::partial_max:
      if (to.kind == k::replicate || to.kind == k::invariant) return {move::all_reduce_max};
      break;
    case k::ragged:
      if (to.kind == k::ragged) return {move::exchange};
      if (!from.by_token() && (to.kind == k::shard || to.kind == k::partial)) return {move::claim};
      break;
  }
  if (from.kind == k::replicate && to == Ragged::value) return {move::forget, true};  // adjoint of Ragged -> Partial
  return {};
}

/// The collective of the backward of from -> to. Derived, never written down.
constexpr redistribution_rule adjoint(placement_value from, placement_value to) {
  return redistribution(grad_of(to), grad_of(from));
}

}  // namespace plait::inline v0_1
