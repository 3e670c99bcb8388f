#pragma once
// Model input: ids, labels, positions and segments of B rows of S tokens. Every rank knows the whole batch (it is small) and cuts
// out what a layout gives it, so counts over the global batch need no communication.
#include <cstdint>
#include <utility>
#include <vector>


namespace plait::inline v0_1 {

inline constexpr std::int64_t ignored_label = -100;

struct batch {
  std::int64_t rows = 0, columns = 0;
  std::vector<std::int64_t> ids;             // [B, S]
  std::vector<std::int64_t> labels;          // [B, S], already the next token; -100 = ignored
  std::vector<std::uint8_t> valid;           // [B, S], 0 = padding
  std::vector<std::int32_t> positions;       // [B, S]
  std::vector<std::int32_t> segment_start;   // [B, S], first column of the segment that the column belongs to

  /// Ids alone: one segment a row, labels the ids moved by one.
  static batch of(std::int64_t b, std::int64_t s, std::vector<std::int64_t> ids) {
    batch x;
    x.rows = b;
    x.columns = s;
    x.ids = std::move(ids);
    const std::size_t n = static_cast<std::size_t>(b * s);
    x.labels.assign(n, ignored_label);
    x.valid.assign(n, 1);
    x.positions.resize(n);
    x.segment_start.assign(n, 0);
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t column = i % static_cast<std::size_t>(s);
      x.positions[i] = static_cast<std::int32_t>(column);
      if (column + 1 < static_cast<std::size_t>(s)) x.labels[i] = x.ids[i + 1];
    }
    return x;
  }
  /// Rows [first, first + count).
  batch slice(std::int64_t first, std::int64_t count) const {
    batch x;
    x.rows = count;
    x.columns = columns;
    const auto cut = [&](const auto& from, auto& to) { to.assign(from.begin() + first * columns, from.begin() + (first + count) * columns); };
    cut(ids, x.ids);
    cut(labels, x.labels);
    cut(valid, x.valid);
    cut(positions, x.positions);
    cut(segment_start, x.segment_start);
    return x;
  }
  /// Tokens with a label: what the loss is averaged over.
  std::int64_t label_count() const {
    std::int64_t n = 0;
    for (const std::int64_t l : labels) n += l != ignored_label;
    return n;
  }
  std::int64_t valid_count() const {
    std::int64_t n = 0;
    for (const std::uint8_t v : valid) n += v != 0;
    return n;
  }
};

/// What the loss of one batch is divided by; all counts are over the global batch (and, accumulating, over all of its slices).
struct loss_scale {
  double tokens = 1;         // labelled tokens
  double routed_rows = 1;    // valid tokens of this slice x sparse layers
  double aux_weight = 0;     // coefficient x this slice's share of the valid tokens
};

}  // namespace plait::inline v0_1
