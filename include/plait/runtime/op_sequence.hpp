#pragma once
// Run-time halves of what works along the sequence: memory that grows by position, attention over it, the last position of a row.
#include "plait/runtime/op_attention.hpp"

namespace plait::inline v0_1::runtime {

/// An array [B, S, ...] whose dim 1 grows up to `capacity` positions, allocated once, at the first append. Every row's positions
/// are contiguous. After an exception the lengths of a model's sequences may differ: start again with fresh ones.
struct growing_sequence {
  array all{};  // local [B, capacity, ...]
  std::int64_t capacity = 0, length = 0;
};

/// Puts the positions of y [B, S, ...] after those that are there.
inline void append(context& c, growing_sequence& to, const array& y) {
  if (wants_gradient(c, y)) throw std::logic_error("plait: a cache has no backward; append to it without a tape");
  if (to.all.memory == nullptr) {
    std::int64_t local[max_rank], global[max_rank];
    for (int d = 0; d < y.rank(); ++d) local[d] = y.local.extent[d], global[d] = y.global[d];
    local[1] = global[1] = to.capacity;
    to.all = make_array(c, y.type(), y.rank(), local, global, y.layout);
  }
  bool same = to.all.type() == y.type() && to.all.rank() == y.rank() && to.all.layout == y.layout;
  for (int d = 0; d < y.rank(); ++d) same = same && (d == 1 || (to.all.local.extent[d] == y.local.extent[d] && to.all.global[d] == y.global[d]));
  if (!same) throw std::logic_error("plait[cache-apart]: what is appended has another shape, element type or layout than the cache");
  const std::int64_t count = y.local.extent[1];
  if (to.length + count > to.capacity)
    throw std::logic_error("plait: a cache of " + std::to_string(to.capacity) + " positions holds " + std::to_string(to.length) + " and cannot take " +
                           std::to_string(count) + " more; make it larger");
  const std::int64_t start[max_rank] = {0, to.length}, zero[max_rank] = {};
  c.ops->copy_box(c.exec, to.all.local.data, to.all.local.extent, start, y.local.data, y.local.extent, zero, y.local.extent, y.rank(), size_of(y.type()));
  to.length += count;
}

/// Queries [B, Sq, heads, d] at the last Sq of the positions cached.
inline array attention(context& c, const array& q, const growing_sequence& k, const growing_sequence& v, const growing_sequence& segment_start,
                       double scale, const array* sinks, const layout_value& layout) {
  if (wants_gradient(c, q)) throw std::logic_error("plait: attention over a cache has no backward; call it without a tape");
  if (k.length != v.length || k.length != segment_start.length || k.length < q.local.extent[1])
    throw std::logic_error("plait: attention over a cache: keys, values and segments of all positions, the queries' own too, are appended first");
  if (k.capacity != v.capacity || k.capacity != segment_start.capacity)
    throw std::logic_error("plait: attention over a cache: keys, values and segments have room for the same positions");
  array y = make_array(c, q.type(), q.rank(), with_width(q.local.extent, v.all).data(), with_width(q.global, v.all).data(), layout);
  array lse;
  const std::int64_t rows[3] = {q.local.extent[0], q.local.extent[2], q.local.extent[1]};
  if (sinks != nullptr) lse = make_array(c, statistic_of(q.type()), 3, rows, rows, layout);
  c.ops->attention(c.exec, q.local, k.all.local, v.all.local, segment_start.all.local, k.length, scale, y.local, lse.local);
  if (sinks != nullptr) c.ops->attention_sinks(c.exec, sinks->now(), y.local, lse.local);
  return y;
}

/// [B, S, ...] -> [B, 1, ...].
inline array last_position(context& c, const array& x) {
  if (wants_gradient(c, x)) throw std::logic_error("plait: last_position has no backward; call it without a tape");
  if (x.local.extent[1] == 1) return x;
  std::int64_t local[max_rank], global[max_rank];
  for (int d = 0; d < x.rank(); ++d) local[d] = x.local.extent[d], global[d] = x.global[d];
  local[1] = global[1] = 1;
  array y = make_array(c, x.type(), x.rank(), local, global, x.layout);
  const std::int64_t start[max_rank] = {0, x.local.extent[1] - 1}, zero[max_rank] = {};
  c.ops->copy_box(c.exec, y.local.data, y.local.extent, zero, x.local.data, x.local.extent, start, y.local.extent, y.rank(), size_of(y.type()));
  return y;
}

}  // namespace plait::inline v0_1::runtime
