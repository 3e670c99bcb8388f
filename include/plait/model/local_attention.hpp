#pragma once
// Layers that attend locally, as another first position for each token: a window is the last positions up to the token's own, a chunk
// those of its stretch of the segment. And the scale of queries by position in layers without a rotary embedding.
#include <algorithm>
#include <cmath>
#include <vector>

#include "plait/io/model_config.hpp"
#include "plait/model/batch.hpp"

namespace plait::inline v0_1 {

/// First column that each token attends to in local layers, [B, S]. The batch's columns stand at `first_column` and after it.
inline std::vector<std::int32_t> local_starts(const batch& in, std::int64_t first_column, const io::model_config& config) {
  std::vector<std::int32_t> starts(in.segment_start);
  for (std::size_t n = 0; n < starts.size(); ++n) {
    const std::int64_t column = first_column + static_cast<std::int64_t>(n) % in.columns, segment = starts[n];
    std::int64_t from = segment;
    if (config.window > 0) from = std::max(from, column - config.window + 1);
    if (config.chunk > 0) from = std::max(from, segment + (column - segment) / config.chunk * config.chunk);
    starts[n] = static_cast<std::int32_t>(from);
  }
  return starts;
}

/// 1 + scale log(1 + floor((position + 1) / floor)) of each token (arXiv 2501.19399), as a table for rope that turns nothing:
/// [B, S, width / 2].
template <class Statistic>
std::vector<Statistic> temperatures(const batch& in, std::int64_t width, const io::model_config& config) {
  const std::size_t half = static_cast<std::size_t>(width / 2);
  std::vector<Statistic> all(in.positions.size() * half);
  for (std::size_t n = 0; n < in.positions.size(); ++n) {
    const double turns = std::floor((in.positions[n] + 1.0) / config.temperature_floor);
    std::fill_n(all.begin() + static_cast<std::ptrdiff_t>(n * half), half, static_cast<Statistic>(std::log1p(turns) * config.temperature_scale + 1));
  }
  return all;
}

}  // namespace plait::inline v0_1
