#pragma once
// What ranks tell each other outside of the model: short texts, for control. Every rank must call it at the same place.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "plait/runtime/context.hpp"

namespace plait::inline v0_1 {

/// The text of every rank, by rank, on every rank.
inline std::vector<std::string> gather_texts(context& c, const std::string& mine) {
  const std::uint32_t mask = c.mesh.all_axes();
  if (mask == 0) return {mine};
  const auto ranks = static_cast<std::size_t>(c.mesh.ranks());
  any_communicator& group = c.group(mask);
  const auto gather = [&](const void* from, std::size_t bytes) {
    const std::shared_ptr<buffer> in = c.allocate(bytes), all = c.allocate(bytes * ranks);
    c.ops->copy(c.exec, in->data(), from, bytes);
    collective call{collective_kind::all_gather, in->data(), all->data(), static_cast<std::int64_t>(bytes), dtype::u8};
    call.where = c.where;
    call.queue = &c.exec;
    c.wait(group, group.start(call));
    std::vector<char> out(bytes * ranks);
    c.ops->copy(c.exec, out.data(), all->data(), out.size());
    return out;
  };
  const std::uint64_t size = mine.size();
  const std::vector<char> sizes = gather(&size, sizeof size);
  std::uint64_t most = 0;
  std::vector<std::uint64_t> length(ranks);
  for (std::size_t r = 0; r < ranks; ++r) {
    std::memcpy(&length[r], sizes.data() + r * sizeof size, sizeof size);
    most = std::max(most, length[r]);
  }
  std::vector<std::string> texts(ranks);
  if (most == 0) return texts;
  std::string padded = mine;
  padded.resize(static_cast<std::size_t>(most));
  const std::vector<char> all = gather(padded.data(), padded.size());
  for (std::size_t r = 0; r < ranks; ++r) texts[r].assign(all.data() + r * padded.size(), static_cast<std::size_t>(length[r]));
  return texts;
}

}  // namespace plait::inline v0_1
