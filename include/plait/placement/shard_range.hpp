#pragma once
// Which indices of one dim a rank holds: even, uneven (ceil chunks, last ranks short or empty), strided, nested. This is the only
// place that knows; loading, saving, gathering and explain all ask here. (DTensor's chunking; seed loader's interval walk.)
#include <cstdint>

#include "plait/placement/placement.hpp"

namespace plait::inline v0_1 {

struct index_range {
  std::int64_t begin = 0, end = 0;
  constexpr std::int64_t size() const { return end - begin; }
  friend constexpr bool operator==(const index_range&, const index_range&) = default;
};

inline constexpr int max_ranges = 16;

/// Ascending global ranges, held one after the other in local memory. Empty ranges are not kept.
struct index_set {
  int count = 0;
  index_range range[max_ranges] = {};

  static constexpr index_set whole(std::int64_t extent) {
    index_set s;
    s.append({0, extent});
    return s;
  }
  constexpr void append(index_range r) {
    if (r.size() <= 0) return;
    if (count > 0 && range[count - 1].end == r.begin) {
      range[count - 1].end = r.end;
    } else {
      range[count++] = r;
    }
  }
  constexpr std::int64_t size() const {
    std::int64_t n = 0;
    for (int i = 0; i < count; ++i) n += range[i].size();
    return n;
  }
  /// The part [begin, end) of the concatenation of the ranges.
  constexpr index_set slice(std::int64_t begin, std::int64_t end) const {
    index_set out;
    std::int64_t at = 0;
    for (int i = 0; i < count; ++i) {
      const std::int64_t low = begin > at ? begin : at;
      const std::int64_t high = end < at + range[i].size() ? end : at + range[i].size();
      if (low < high) out.append({range[i].begin + (low - at), range[i].begin + (high - at)});
      at += range[i].size();
    }
    return out;
  }
};

constexpr std::int64_t ceil_chunk(std::int64_t extent, std::int64_t parts) { return (extent + parts - 1) / parts; }

/// What rank `part` of `parts` keeps of `held` when one axis cuts it with `p`.
constexpr index_set cut(const index_set& held, placement_value p, std::int64_t part, std::int64_t parts) {
  const std::int64_t extent = held.size();
  index_set out;
  const std::int64_t sections = p.sections;
  const std::int64_t section = ceil_chunk(extent, sections);
  for (std::int64_t s = 0; s < sections; ++s) {
    const std::int64_t low = s * section < extent ? s * section : extent;
    const std::int64_t high = low + section < extent ? low + section : extent;
    const std::int64_t chunk = ceil_chunk(high - low, parts);
    const std::int64_t begin = low + part * chunk < high ? low + part * chunk : high;
    const std::int64_t end = begin + chunk < high ? begin + chunk : high;
    const index_set piece = held.slice(begin, end);
    for (int i = 0; i < piece.count; ++i) out.append(piece.range[i]);
  }
  return out;
}

}  // namespace plait::inline v0_1
