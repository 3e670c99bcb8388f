#pragma once
// Angles of the rotary embedding (arXiv 2104.09864) for the positions of a batch, on the host.
#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <vector>

#include "plait/model/batch.hpp"

namespace plait::inline v0_1 {

/// cos and sin of position x theta^(-2i / width) for i < width / 2, as [B, S, width / 2].
template <class Statistic>
struct rotary_angles {
  std::int64_t half = 0;
  std::vector<Statistic> cosine, sine;

  rotary_angles(const batch& in, std::int64_t width, double theta) : half(width / 2) {
    using stat = Statistic;
    const std::int64_t tokens = in.rows * in.columns;
    cosine.resize(static_cast<std::size_t>(tokens * half));
    sine.resize(cosine.size());
    std::vector<stat> frequency(static_cast<std::size_t>(half));
    for (std::int64_t i = 0; i < half; ++i)
      frequency[static_cast<std::size_t>(i)] =
          stat(1) / static_cast<stat>(std::pow(static_cast<stat>(theta), static_cast<stat>(2 * i) / static_cast<stat>(width)));
    std::unordered_map<std::int32_t, std::int64_t> first;  // rows repeat positions, and these functions are slow
    for (std::int64_t n = 0; n < tokens; ++n) {
      const auto [seen, fresh] = first.try_emplace(in.positions[static_cast<std::size_t>(n)], n);
      if (!fresh) {
        std::copy_n(cosine.begin() + seen->second * half, half, cosine.begin() + n * half);
        std::copy_n(sine.begin() + seen->second * half, half, sine.begin() + n * half);
        continue;
      }
      for (std::int64_t i = 0; i < half; ++i) {
        const stat angle = static_cast<stat>(seen->first) * frequency[static_cast<std::size_t>(i)];
        cosine[static_cast<std::size_t>(n * half + i)] = std::cos(angle);
        sine[static_cast<std::size_t>(n * half + i)] = std::sin(angle);
      }
    }
  }
};

}  // namespace plait::inline v0_1
