#pragma once
// How a unit's parameters lie in the blocks of the collectives that gather them and reduce their gradients: one block a member of the
// group, in it the member's shards one after another.
#include "plait/train/parameter_slot.hpp"

namespace plait::inline v0_1::detail {

/// What member m of the slot's gather stores.
inline index_sets stored_by(const context& c, const parameter_slot& s, int m) {
  int coordinate[max_atoms];
  member_coordinates(c, s.gather_mask, m, coordinate);
  return holdings(s.storage, s.storage_local, s.global, c.mesh, coordinate);
}

/// The groups in which the parameters of `unit` (numbers in `slots`) are gathered; those that no group cuts are in none.
inline std::vector<gather_group> gather_groups_of(const context& c, const std::vector<int>& unit, const std::vector<parameter_slot>& slots) {
  std::vector<gather_group> groups;
  for (int i : unit) {
    const parameter_slot& s = slots[static_cast<std::size_t>(i)];
    if (s.gather_mask == 0) continue;
    gather_group* group = nullptr;
    for (gather_group& g : groups)
      if (g.mask == s.gather_mask) group = &g;
    if (group == nullptr) {
      group = &groups.emplace_back();
      group->mask = s.gather_mask;
    }
    std::int64_t most = 0, in_all = 0;
    const int members = c.mesh.group_size(s.gather_mask);
    for (int m = 0; m < members; ++m) {
      const std::int64_t n = volume(stored_by(c, s, m), s.rank);
      if (n > most) most = n;
      in_all += n;
    }
    bool follow = in_all == most * members;
    if (!follow) group->padded = true;
    for (int m = 0; m < members && follow; ++m) follow = contiguous_at(stored_by(c, s, m), s.compute_held, s.rank, m * most);
    group->parts.push_back({i, group->block, follow ? most : 0});
    group->block += most;
    group->stored += s.storage_local.size();
    group->whole += s.compute_local.size();
  }
  return groups;
}

/// Where member m's part of a parameter lies in a buffer of all members' blocks.
inline char* place_in_blocks(const buffer& blocks, const gather_group& g, const gather_group::part& p, int m, std::size_t element) {
  return static_cast<char*>(blocks.data()) + static_cast<std::size_t>(m * g.block + p.offset) * element;
}

/// A parameter from all members' blocks, or into them: one copy where their shards follow one another, else one a member.
/// `whole`: memory of what this rank computes with, of elements of `element` bytes.
template <bool Into>
void copy_parts(context& c, const parameter_slot& s, const gather_group& g, const gather_group::part& p, const buffer& blocks, void* whole, std::size_t element) {
  const int members = c.mesh.group_size(g.mask);
  if (p.stretch > 0) {
    const std::int64_t all[2] = {members, g.block}, start[2] = {0, p.offset}, rows[2] = {members, p.stretch}, none[2] = {0, 0};
    if constexpr (Into) c.ops->copy_box(c.exec, blocks.data(), all, start, whole, rows, none, rows, 2, element);
    else c.ops->copy_box(c.exec, whole, rows, none, blocks.data(), all, start, rows, 2, element);
    return;
  }
  for (int m = 0; m < members; ++m) {
    const index_sets theirs = stored_by(c, s, m);
    char* const there = place_in_blocks(blocks, g, p, m, element);
    if constexpr (Into) copy_part(c, theirs, s.compute_held, whole, theirs, there, s.rank, element);
    else copy_part(c, theirs, theirs, there, s.compute_held, whole, s.rank, element);
  }
}

}  // namespace plait::inline v0_1::detail
