#pragma once
// Run-time halves of rotary position embedding and attention.
#include "plait/runtime/op_dense.hpp"

namespace plait::inline v0_1::runtime {

/// cosine and sine are [B, S, d/2] for the local rows.
inline array rope(context& c, const array& x, const array& cosine, const array& sine) {
  array y = make_array(c, x.type(), x.rank(), x.local.extent, x.global, x.layout);
  c.ops->rope(c.exec, x.local, cosine.local, sine.local, false, y.local);
  if (!wants_gradient(c, x)) return y;
  track(y);
  c.recording->push([x_slot = x.gradient, cosine, sine, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    contribute(b, x_slot, [&](view dx) { b.ops->rope(b.exec, dy->local, cosine.local, sine.local, true, dx); });
  });
  return y;
}

inline array attention(context& c, const array& q, const array& k, const array& v, const array& segment_start, double scale,
                       const layout_value& layout) {
  array y = make_array(c, q.type(), q.rank(), q.local.extent, q.global, layout);
  const std::int64_t rows[3] = {q.local.extent[0], q.local.extent[2], q.local.extent[1]};
  array lse = make_array(c, statistic_of(q.type()), 3, rows, rows, layout);
  c.ops->attention(c.exec, q.local, k.local, v.local, segment_start.local, scale, y.local, lse.local);
  if (!wants_gradient(c, q) && !wants_gradient(c, k) && !wants_gradient(c, v)) return y;
  track(y);
  c.recording->push([q, k, v, segment_start, scale, out = y.local, out_memory = y.memory, lse, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    std::shared_ptr<buffer> memory[3];
    const view dq = detail::allocate(b, q.local, memory[0]), dk = detail::allocate(b, k.local, memory[1]),
               dv = detail::allocate(b, v.local, memory[2]);
    b.ops->attention_gradient(b.exec, q.local, k.local, v.local, segment_start.local, scale, out, lse.local, dy->local, dq, dk, dv);
    contribute(b, q.gradient, dq, memory[0]);
    contribute(b, k.gradient, dk, memory[1]);
    contribute(b, v.gradient, dv, memory[2]);
  });
  return y;
}

}  // namespace plait::inline v0_1::runtime
