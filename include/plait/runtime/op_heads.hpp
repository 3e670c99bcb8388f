#pragma once
// Run-time halves of the ops on heads and their columns.
#include "plait/runtime/op_dense.hpp"

namespace plait::inline v0_1::runtime {

struct array_pair {
  array left, right;
};

/// The first `columns` of x's last dim, and the others.
inline array_pair split_columns(context& c, const array& x, std::int64_t columns, const layout_value& layout) {
  std::int64_t local[max_rank], global[max_rank];
  const int last = x.rank() - 1;
  for (int d = 0; d < last; ++d) local[d] = x.local.extent[d], global[d] = x.global[d];
  array_pair y;
  local[last] = global[last] = columns;
  y.left = make_array(c, x.type(), x.rank(), local, global, layout);
  local[last] = global[last] = x.global[last] - columns;
  y.right = make_array(c, x.type(), x.rank(), local, global, layout);
  c.ops->split_columns(c.exec, x.now(), y.left.local, y.right.local);
  if (!wants_gradient(c, x)) return y;
  track(y.left);
  track(y.right);
  c.recording->push([x_slot = x.gradient, dl = y.left.gradient, dr = y.right.gradient](context& b) {
    if (!dl->filled && !dr->filled) return;
    for (const auto& part : {dl, dr})
      if (!part->filled) detail::accumulator(b, *part);  // nobody used it: zeros
    contribute(b, x_slot, [&](view dx) { b.ops->join_columns(b.exec, dl->local, dr->local, dx); });
  });
  return y;
}

inline array join_columns(context& c, const array& x, const array& z, const layout_value& layout) {
  std::int64_t local[max_rank], global[max_rank];
  const int last = x.rank() - 1;
  for (int d = 0; d < last; ++d) local[d] = x.local.extent[d], global[d] = x.global[d];
  local[last] = global[last] = x.global[last] + z.global[last];
  array y = make_array(c, x.type(), x.rank(), local, global, layout);
  c.ops->join_columns(c.exec, x.now(), z.now(), y.local);
  if (!wants_gradient(c, x) && !wants_gradient(c, z)) return y;
  track(y);
  c.recording->push([x_slot = x.gradient, z_slot = z.gradient, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    contribute(b, x_slot, [&](view dx) { b.ops->split_columns(b.exec, dy->local, dx, view{}); });
    contribute(b, z_slot, [&](view dz) { b.ops->split_columns(b.exec, dy->local, view{}, dz); });
  });
  return y;
}

/// A view [..., heads, d] as [rows, heads, d].
inline view by_heads(view v) {
  view m = v;
  m.rank = 3;
  m.extent[2] = v.extent[v.rank - 1];
  m.extent[1] = v.extent[v.rank - 2];
  m.extent[0] = 1;
  for (int d = 0; d + 2 < v.rank; ++d) m.extent[0] *= v.extent[d];
  return m;
}

/// x [..., h, d] -> this rank's part of [..., heads, d]: head j is x's head j h / heads.
inline array repeat_heads(context& c, const array& x, std::int64_t heads, const layout_value& layout) {
  const int at = x.rank() - 2;
  const std::int64_t times = heads / x.global[at];
  const auto begin_of = [&](const layout_value& l, std::int64_t extent, std::int64_t& count) {
    const index_set held = held_indices(l, at, extent, c.mesh.size, c.coordinate);
    count = held.size();
    return held.count == 0 ? extent : held.range[0].begin;
  };
  std::int64_t local[max_rank], global[max_rank], own = 0, have = 0;
  for (int d = 0; d < x.rank(); ++d) local[d] = x.local.extent[d], global[d] = x.global[d];
  const std::int64_t first = begin_of(layout, heads, own) - begin_of(x.layout, x.global[at], have) * times;
  if (own > 0 && (first < 0 || (first + own - 1) / times >= have))
    throw std::invalid_argument("plait[extent-mismatch]: repeat_heads: the axes that cut the heads cut apart a head's copies from the head");
  local[at] = own;
  global[at] = heads;
  array y = make_array(c, x.type(), x.rank(), local, global, layout);
  c.ops->repeat_heads(c.exec, by_heads(x.now()), first, times, by_heads(y.local));
  if (!wants_gradient(c, x)) return y;
  track(y);
  c.recording->push([x_slot = x.gradient, dy = y.gradient, first, times](context& b) {
    if (!dy->filled) return;
    contribute(b, x_slot, [&](view dx) { b.ops->repeat_heads_gradient(b.exec, by_heads(dy->local), first, times, by_heads(dx)); });
  });
  return y;
}

}  // namespace plait::inline v0_1::runtime
