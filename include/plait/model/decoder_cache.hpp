#pragma once
// What a decoder keeps of the tokens it has seen, so that the next ones cost one position and not the whole row again.
#include <vector>

#include "plait/runtime/op_sequence.hpp"

namespace plait::inline v0_1 {

/// Keys and values of every layer and the segments of all positions, each rank its own part: laid out as the plan lays out k and v
/// (heads cut over tp, rows over the data axes). One cache serves one batch of rows under one model.
struct decoder_cache {
  std::int64_t capacity = 0;                   // positions of a row; memory is taken for all of them at the first forward
  runtime::growing_sequence segment_start;     // [B, S]
  runtime::growing_sequence local_start;       // [B, S], of layers that attend locally, if there are any
  std::vector<runtime::growing_sequence> keys, values;  // by layer, [B, S, heads, d]; keys already rotated

  explicit decoder_cache(std::int64_t positions) : capacity(positions) { segment_start.capacity = local_start.capacity = positions; }
  std::int64_t length() const { return segment_start.length; }

  /// Checks that a forward pass may use the cache, and makes room for its layers.
  void begin(const context& c, std::int64_t layers, bool wants_loss) {
    if (c.recording != nullptr) throw std::logic_error("plait: a forward pass with a cache cannot be recorded; train without a cache");
    if (wants_loss) throw std::logic_error("plait: a forward pass with a cache has no loss; evaluate without a cache");
    if (!keys.empty()) return;
    runtime::growing_sequence empty;
    empty.capacity = capacity;
    keys.assign(static_cast<std::size_t>(layers), empty);
    values.assign(static_cast<std::size_t>(layers), empty);
  }
};

}  // namespace plait::inline v0_1
