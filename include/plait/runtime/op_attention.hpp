#pragma once
// Run-time halves of rotary position embedding and attention.
#include <array>

#include "plait/runtime/op_dense.hpp"

namespace plait::inline v0_1::runtime {

/// cosine and sine are [B, S, n] for the local rows; 2 n columns turn.
inline array rope(context& c, const array& x, const array& cosine, const array& sine, rotary_form form) {
  if (form.first < 0 || form.first + 2 * cosine.local.extent[2] > x.local.extent[3])
    throw std::invalid_argument("plait[extent-mismatch]: rope: more columns are to turn than a head has");
  array y = make_array(c, x.type(), x.rank(), x.local.extent, x.global, x.layout);
  c.ops->rope(c.exec, x.local, cosine.local, sine.local, form, false, y.local);
  if (!wants_gradient(c, x)) return y;
  track(y);
  c.recording->push([x_slot = x.gradient, cosine, sine, form, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    contribute(b, x_slot, [&](view dx) { b.ops->rope(b.exec, dy->local, cosine.local, sine.local, form, true, dx); });
  });
  return y;
}

/// Extents of attention's output: those of the queries, as wide as the values.
inline std::array<std::int64_t, max_rank> with_width(const std::int64_t* extent, const array& v) {
  return {extent[0], extent[1], extent[2], v.global[3]};
}

/// sinks [heads]: one logit a head more in the softmax; null: none.
inline array attention(context& c, const array& q, const array& k, const array& v, const array& segment_start, double scale,
                       const array* sinks, const layout_value& layout) {
  const auto require = [](bool ok, const char* what) {
    if (!ok) throw std::invalid_argument(std::string("plait[extent-mismatch]: attention: ") + what);
  };
  require(q.global[3] == k.global[3], "keys are not as wide as queries");
  require(q.global[0] == k.global[0] && q.global[1] <= k.global[1], "queries and keys are of unlike rows");
  require(k.global[0] == v.global[0] && k.global[1] == v.global[1] && k.global[2] == v.global[2], "there is not one value a key");
  require(k.global[0] == segment_start.global[0] && k.global[1] == segment_start.global[1], "segments are of other positions than keys");
  // Each key head serves a group of queries' heads, and the groups of a rank must be its own keys'.
  const std::int64_t group = k.global[2] > 0 ? q.global[2] / k.global[2] : 0;
  require(group * k.global[2] == q.global[2] && group * k.local.extent[2] == q.local.extent[2], "a rank's keys are not those of its queries' heads");
  array y = make_array(c, q.type(), q.rank(), with_width(q.local.extent, v).data(), with_width(q.global, v).data(), layout);
  const std::int64_t rows[3] = {q.local.extent[0], q.local.extent[2], q.local.extent[1]};
  array lse = make_array(c, statistic_of(q.type()), 3, rows, rows, layout);
  c.ops->attention(c.exec, q.local, k.local, v.local, segment_start.local, k.local.extent[1], scale, y.local, lse.local);
  if (sinks != nullptr) c.ops->attention_sinks(c.exec, sinks->now(), y.local, lse.local);
  const array sink = sinks != nullptr ? *sinks : array{};
  if (!wants_gradient(c, q) && !wants_gradient(c, k) && !wants_gradient(c, v) && !wants_gradient(c, sink)) return y;
  track(y);
  c.recording->push([q, k, v, sink, segment_start, scale, out = y.local, out_memory = y.memory, lse, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    std::shared_ptr<buffer> memory[3];
    const view dq = detail::allocate(b, q.local, memory[0]), dk = detail::allocate(b, k.local, memory[1]),
               dv = detail::allocate(b, v.local, memory[2]);
    b.ops->attention_gradient(b.exec, q.local, k.local, v.local, segment_start.local, scale, out, lse.local, dy->local, dq, dk, dv);
    contribute(b, q.gradient, dq, memory[0]);
    contribute(b, k.gradient, dk, memory[1]);
    contribute(b, v.gradient, dv, memory[2]);
    if (sink.gradient != nullptr)
      b.ops->attention_sinks_gradient(b.exec, sink.now(), out, lse.local, dy->local, accumulator(b, *sink.gradient));
  });
  return y;
}

}  // namespace plait::inline v0_1::runtime
