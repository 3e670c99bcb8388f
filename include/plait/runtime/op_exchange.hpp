#pragma once
// Rows of tokens on their way to their experts' ranks and back: an all-to-all with counts. The counts of a dispatch are found once,
// with the one wait for the device that it costs; rows then go there and back, and their gradients the other way, by the same blocks.
#include "plait/runtime/transfer.hpp"

namespace plait::inline v0_1::runtime {

/// Where the rows of one dispatch go. By token they are sorted by expert, so what goes to a rank is one block of them; with the experts
/// they are sorted by expert, then by the rank they come from.
struct row_exchange {
  std::uint32_t mask = 0;                 // the group whose ranks share out the experts
  std::vector<exchange_block> to_experts;  // in rows, by member; the way back is the same with both sides swapped
  std::int64_t by_token = 0, by_expert = 0;  // rows that this rank holds
  array token_offsets, expert_offsets;       // first row of each of all experts, and of each local one
  array row_of_slot, slot_of_row;            // between the order of arrival and that of the experts
};

/// The mask of the exchange that from -> to is; 0 if no rows leave their rank.
inline std::uint32_t exchange_mask(const context& c, const layout_value& from, const layout_value& to) {
  const detail::stage_list stages = detail::stages_of(from, to, c.mesh);
  return stages.count == 0 ? 0 : stages.at[0].mask;
}

/// Counts the rows of `offsets` [experts + 1] over the group `mask`, whose ranks hold the experts as `experts` says.
inline std::shared_ptr<const row_exchange> count_rows(context& c, const array& offsets, const layout_value& experts, std::uint32_t mask) {
  const std::int64_t all = offsets.local.extent[0] - 1;
  const int n = c.mesh.group_size(mask);
  const auto held = [&](const int* at) { return held_indices(experts, 0, all, c.mesh.size, at); };
  const std::int64_t local = held(c.coordinate).size();
  auto e = std::make_shared<row_exchange>();
  e->mask = mask;
  e->token_offsets = offsets;
  e->to_experts.resize(static_cast<std::size_t>(n));

  // Each rank sends the part of its offsets that is about the other's experts. Received [n, local + 1], then the own ones: read at once.
  std::vector<exchange_block> blocks(static_cast<std::size_t>(n));
  std::vector<std::int64_t> first(static_cast<std::size_t>(n));
  for (int m = 0; m < n; ++m) {
    int at[max_atoms];
    detail::member_coordinates(c, mask, m, at);
    const index_set theirs = held(at);
    first[static_cast<std::size_t>(m)] = theirs.count == 0 ? 0 : theirs.range[0].begin;
    blocks[static_cast<std::size_t>(m)] = {theirs.size() + 1, first[static_cast<std::size_t>(m)], local + 1, m * (local + 1)};
  }
  const std::int64_t two[2] = {n, local + 1}, read[1] = {n * (local + 1) + all + 1};
  array counts = detail::make_array(c, dtype::i32, 1, read, read, offsets.layout);
  collective call{collective_kind::all_to_all, offsets.local.data, counts.local.data, 0, dtype::i32};
  call.where = c.where;
  call.queue = &c.exec;
  call.blocks = blocks.data();
  c.note(mask, blocks, size_of(dtype::i32));
  any_communicator& group = c.group(mask);
  c.wait(group, group.start(call));
  c.ops->copy(c.exec, counts.local.as<std::int32_t>() + n * (local + 1), offsets.local.data, offsets.local.bytes());
  std::vector<std::int32_t> known(static_cast<std::size_t>(read[0]));
  c.ops->copy(c.exec, known.data(), counts.local.data, counts.local.bytes());

  const std::int32_t* own = known.data() + n * (local + 1);
  for (int m = 0; m < n; ++m) {
    exchange_block& b = e->to_experts[static_cast<std::size_t>(m)];
    const std::int64_t begin = first[static_cast<std::size_t>(m)];
    b.send_at = own[begin];
    b.send = own[begin + blocks[static_cast<std::size_t>(m)].send - 1] - b.send_at;
    b.receive_at = e->by_expert;
    b.receive = known[static_cast<std::size_t>((m + 1) * (local + 1) - 1)] - known[static_cast<std::size_t>(m * (local + 1))];
    e->by_token += b.send;
    e->by_expert += b.receive;
  }
  const std::int64_t ends[1] = {local + 1}, rows[1] = {e->by_expert};
  e->expert_offsets = detail::make_array(c, dtype::i32, 1, ends, ends, offsets.layout);
  e->row_of_slot = detail::make_array(c, dtype::i32, 1, rows, rows, offsets.layout);
  e->slot_of_row = detail::make_array(c, dtype::i32, 1, rows, rows, offsets.layout);
  view received = detail::shaped(dtype::i32, 2, two);
  received.data = counts.local.data;
  c.ops->exchange_plan(c.exec, received, e->expert_offsets.local, e->row_of_slot.local, e->slot_of_row.local);
  return e;
}

/// Moves rows [., width] as the two layouts say, without recording anything.
inline void exchange_rows(context& c, view& rows, std::shared_ptr<buffer>& memory, const row_exchange& e, const layout_value& from,
                          const layout_value& to) {
  if (exchange_mask(c, from, to) != e.mask) throw std::logic_error("plait: rows are exchanged over other axes than they were counted over");
  int axis = 0;
  while ((e.mask >> axis & 1u) == 0) ++axis;
  const bool leaving = from.at[axis].by_token();
  const std::int64_t width = rows.extent[1], there[2] = {e.by_expert, width}, here[2] = {e.by_token, width};
  std::vector<exchange_block> blocks = e.to_experts;
  for (exchange_block& b : blocks) {
    b = {b.send * width, b.send_at * width, b.receive * width, b.receive_at * width};
    if (!leaving) b = {b.receive, b.receive_at, b.send, b.send_at};
  }
  std::shared_ptr<buffer> arrived_memory, out_memory;
  const view arrived = detail::allocate(c, detail::shaped(rows.type, 2, there), arrived_memory);
  const view out = detail::allocate(c, detail::shaped(rows.type, 2, leaving ? there : here), out_memory);
  if (!leaving) c.ops->gather_rows(c.exec, rows, 1, e.slot_of_row.local, e.expert_offsets.local, arrived);
  collective call{collective_kind::all_to_all, leaving ? rows.data : arrived.data, leaving ? arrived.data : out.data, 0, rows.type};
  call.where = c.where;
  call.queue = &c.exec;
  call.blocks = blocks.data();
  c.note(e.mask, blocks, size_of(rows.type));
  any_communicator& group = c.group(e.mask);
  c.wait(group, group.start(call));
  if (leaving) c.ops->gather_rows(c.exec, arrived, 1, e.row_of_slot.local, e.expert_offsets.local, out);
  rows = out;
  memory = std::move(out_memory);
}

/// Rows under the layout `to`, moved by `e` (null: no rows leave their rank). The backward is the derived move, of the same blocks.
inline array exchange(context& c, const array& rows, const std::shared_ptr<const row_exchange>& e, const layout_value& to) {
  array y = rows;
  y.layout = to;
  y.gradient = nullptr;
  if (e != nullptr) exchange_rows(c, y.local, y.memory, *e, rows.layout, to);
  y.global[0] = y.local.extent[0];
  if (!detail::wants_gradient(c, rows)) return y;
  detail::track(y);
  c.recording->push([e, x_slot = rows.gradient, y_slot = y.gradient, from = rows.layout, to, where = c.where, layer = c.layer](context& b) {
    if (!y_slot->filled) return;
    named_scope scope(b, where);
    b.layer = layer;
    view g = y_slot->local;
    std::shared_ptr<buffer> memory = y_slot->memory;
    if (e != nullptr) exchange_rows(b, g, memory, *e, grad_of(to), grad_of(from));
    detail::contribute(b, x_slot, g, memory);
  });
  return y;
}

}  // namespace plait::inline v0_1::runtime
