#pragma once
// Run-time halves of the dense ops: one backend call forward, and the pullback. Layouts arrive computed; nothing here checks them.
#include "plait/runtime/array.hpp"

namespace plait::inline v0_1::runtime {

using detail::accumulator;
using detail::addend;
using detail::contribute;
using detail::make_array;
using detail::track;
using detail::wants_gradient;

/// A view of the same memory as a matrix [rows, columns].
inline view matrix(view v) {
  view m = v;
  m.rank = 2;
  m.extent[0] = v.rows();
  m.extent[1] = v.columns();
  return m;
}

inline array linear(context& c, const array& x, const array& w, const layout_value& layout) {
  std::int64_t local[max_rank], global[max_rank];
  for (int d = 0; d < x.rank(); ++d) local[d] = x.local.extent[d], global[d] = x.global[d];
  local[x.rank() - 1] = w.local.extent[0];
  global[x.rank() - 1] = w.global[0];
  array y = make_array(c, x.type(), x.rank(), local, global, layout);
  c.ops->matmul(c.exec, matrix(x.now()), false, w.now(), true, matrix(y.local), false);
  if (!wants_gradient(c, x) && !wants_gradient(c, w)) return y;
  track(y);
  c.recording->push([x, w, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    contribute(b, x.gradient, [&](view dx) { b.ops->matmul(b.exec, matrix(dy->local), false, w.now(), false, matrix(dx), false); });
    if (w.gradient == nullptr) return;
    const auto [dw, add] = addend(b, *w.gradient);
    b.ops->matmul(b.exec, matrix(dy->local), true, matrix(x.now()), false, dw, add);
  });
  return y;
}

inline array bias_add(context& c, const array& x, const array& bias, const layout_value& layout) {
  array y = make_array(c, x.type(), x.rank(), x.local.extent, x.global, layout);
  c.ops->bias_add(c.exec, matrix(x.now()), bias.now(), matrix(y.local));
  if (!wants_gradient(c, x) && !wants_gradient(c, bias)) return y;
  track(y);
  c.recording->push([x_slot = x.gradient, bias_slot = bias.gradient, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    contribute(b, x_slot, dy->local, dy->memory);
    if (bias_slot != nullptr) b.ops->bias_gradient(b.exec, matrix(dy->local), accumulator(b, *bias_slot));
  });
  return y;
}

inline array add(context& c, const array& x, const array& z, const layout_value& layout) {
  array y = make_array(c, x.type(), x.rank(), x.local.extent, x.global, layout);
  c.ops->add(c.exec, x.now(), z.now(), y.local);
  if (!wants_gradient(c, x) && !wants_gradient(c, z)) return y;
  track(y);
  c.recording->push([x_slot = x.gradient, z_slot = z.gradient, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    contribute(b, x_slot, dy->local, dy->memory);
    contribute(b, z_slot, dy->local, dy->memory);
  });
  return y;
}

/// y = factor * x.
inline array scale(context& c, const array& x, double factor) {
  array y = make_array(c, x.type(), x.rank(), x.local.extent, x.global, x.layout);
  c.ops->copy(c.exec, y.local.data, x.now().data, x.local.bytes());
  c.ops->scale(c.exec, y.local, factor);
  if (!wants_gradient(c, x)) return y;
  track(y);
  c.recording->push([x_slot = x.gradient, dy = y.gradient, factor](context& b) {
    if (!dy->filled) return;
    contribute(b, x_slot, [&](view dx) {
      b.ops->copy(b.exec, dx.data, dy->local.data, dx.bytes());
      b.ops->scale(b.exec, dx, factor);
    });
  });
  return y;
}

/// y = x in [-limit, limit]; what is beyond has no gradient.
inline array clamp(context& c, const array& x, double limit) {
  array y = make_array(c, x.type(), x.rank(), x.local.extent, x.global, x.layout);
  c.ops->clamp(c.exec, x.now(), limit, y.local);
  if (!wants_gradient(c, x)) return y;
  track(y);
  c.recording->push([x, dy = y.gradient, limit](context& b) {
    if (dy->filled) contribute(b, x.gradient, [&](view dx) { b.ops->clamp_gradient(b.exec, x.now(), dy->local, limit, dx); });
  });
  return y;
}

inline array rms_norm(context& c, const array& x, const array& w, double epsilon, const layout_value& layout) {
  array y = make_array(c, x.type(), x.rank(), x.local.extent, x.global, layout);
  const std::int64_t rows[1] = {x.local.rows()};
  array inverse = make_array(c, statistic_of(x.type()), 1, rows, rows, layout);
  c.ops->rms_norm(c.exec, matrix(x.now()), w.now(), epsilon, matrix(y.local), inverse.local);
  if (!wants_gradient(c, x) && !wants_gradient(c, w)) return y;
  track(y);
  c.recording->push([x, w, inverse, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    const view dweight = w.gradient != nullptr ? accumulator(b, *w.gradient) : view{};
    if (x.gradient == nullptr) {
      b.ops->rms_norm_gradient(b.exec, matrix(x.now()), w.now(), inverse.local, matrix(dy->local), view{}, dweight);
      return;
    }
    contribute(b, x.gradient, [&](view dx) {
      b.ops->rms_norm_gradient(b.exec, matrix(x.now()), w.now(), inverse.local, matrix(dy->local), matrix(dx), dweight);
    });
  });
  return y;
}

/// Each row of the last dim minus its mean.
inline array centre_rows(context& c, const array& x, const layout_value& layout) {
  array y = make_array(c, x.type(), x.rank(), x.local.extent, x.global, layout);
  c.ops->centre_rows(c.exec, matrix(x.now()), matrix(y.local));
  if (!wants_gradient(c, x)) return y;
  track(y);
  c.recording->push([x_slot = x.gradient, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    contribute(b, x_slot, [&](view dx) { b.ops->centre_rows(b.exec, matrix(dy->local), matrix(dx)); });
  });
  return y;
}

/// Without a weight.
inline array rms_norm(context& c, const array& x, double epsilon, const layout_value& layout) {
  const std::int64_t width[1] = {x.local.columns()};
  const array ones = make_array(c, x.type(), 1, width, width, layout);
  c.ops->fill(c.exec, ones.local, 1.0);
  return rms_norm(c, x, ones, epsilon, layout);
}

/// The same memory under other extents.
inline array reshape(context& c, const array& x, int rank, const std::int64_t* local, const std::int64_t* global,
                     const layout_value& layout) {
  array y = x;
  y.local.rank = rank;
  for (int d = 0; d < rank; ++d) y.local.extent[d] = local[d], y.global[d] = global[d];
  y.layout = layout;
  y.gradient = nullptr;
  if (!wants_gradient(c, x)) return y;
  track(y);
  c.recording->push([x_slot = x.gradient, dy = y.gradient](context& b) {
    if (dy->filled) contribute(b, x_slot, dy->local, dy->memory);
  });
  return y;
}

inline array embedding(context& c, const array& ids, const array& learning_ids, const array& table, std::int64_t first, const layout_value& layout) {
  std::int64_t local[max_rank], global[max_rank];
  for (int d = 0; d < ids.rank(); ++d) local[d] = ids.local.extent[d], global[d] = ids.global[d];
  local[ids.rank()] = table.local.extent[1];
  global[ids.rank()] = table.global[1];
  array y = make_array(c, table.type(), ids.rank() + 1, local, global, layout);
  c.ops->embedding(c.exec, ids.local, table.now(), first, table.global[0], matrix(y.local));
  if (!wants_gradient(c, table)) return y;
  track(y);
  c.recording->push([learning_ids, slot = table.gradient, first, dy = y.gradient](context& b) {
    if (dy->filled) b.ops->embedding_gradient(b.exec, learning_ids.local, matrix(dy->local), first, accumulator(b, *slot));
  });
  return y;
}

inline array gate_rows(context& c, const array& x, const array& gate, const layout_value& layout) {
  array y = make_array(c, x.type(), x.rank(), x.local.extent, x.global, layout);
  c.ops->gate_rows(c.exec, matrix(x.now()), matrix(gate.now()), matrix(y.local));
  if (!wants_gradient(c, x) && !wants_gradient(c, gate)) return y;
  track(y);
  c.recording->push([x, gate, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    std::shared_ptr<buffer> x_memory, gate_memory;
    const view dx = detail::allocate(b, x.local, x_memory), dgate = detail::allocate(b, gate.local, gate_memory);
    b.ops->gate_rows_gradient(b.exec, matrix(x.now()), matrix(gate.now()), matrix(dy->local), matrix(dx), matrix(dgate));
    contribute(b, x.gradient, dx, x_memory);
    contribute(b, gate.gradient, dgate, gate_memory);
  });
  return y;
}

inline array swiglu(context& c, const array& packed, const gated_options& options, const layout_value& layout) {
  std::int64_t local[max_rank], global[max_rank];
  const int last = packed.rank() - 1;
  for (int d = 0; d <= last; ++d) local[d] = packed.local.extent[d], global[d] = packed.global[d];
  local[last] /= 2;
  global[last] /= 2;
  array y = make_array(c, packed.type(), packed.rank(), local, global, layout);
  c.ops->swiglu(c.exec, matrix(packed.now()), options, matrix(y.local));
  if (!wants_gradient(c, packed)) return y;
  track(y);
  c.recording->push([packed, options, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    contribute(b, packed.gradient, [&](view d) { b.ops->swiglu_gradient(b.exec, matrix(packed.now()), matrix(dy->local), options, matrix(d)); });
  });
  return y;
}

inline array swiglu(context& c, const array& gate, const array& up, const layout_value& layout) {
  array y = make_array(c, gate.type(), gate.rank(), gate.local.extent, gate.global, layout);
  c.ops->swiglu_pair(c.exec, matrix(gate.now()), matrix(up.now()), matrix(y.local));
  if (!wants_gradient(c, gate) && !wants_gradient(c, up)) return y;
  track(y);
  c.recording->push([gate, up, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    std::shared_ptr<buffer> gate_memory, up_memory;
    const view dgate = detail::allocate(b, gate.local, gate_memory), dup = detail::allocate(b, up.local, up_memory);
    b.ops->swiglu_pair_gradient(b.exec, matrix(gate.now()), matrix(up.now()), matrix(dy->local), matrix(dgate), matrix(dup));
    contribute(b, gate.gradient, dgate, gate_memory);
    contribute(b, up.gradient, dup, up_memory);
  });
  return y;
}

}  // namespace plait::inline v0_1::runtime
