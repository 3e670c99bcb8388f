#pragma once
// Choosing the next token from a row of logits. Random numbers are a function of (seed, row, position), so a choice depends on the
// logits alone and never on the plan, the ranks or what else is in the batch.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "plait/train/random.hpp"

namespace plait::inline v0_1 {

struct sampling_options {
  double temperature = 0;   // 0: greedy; otherwise logits are divided by it
  std::int64_t top_k = 0;   // only the k most probable tokens; 0: all
  double top_p = 1;         // of those the fewest whose probabilities reach this share (arXiv 1904.09751); 1: all
  std::uint64_t seed = 0;
};

/// The most probable token; ties go to the lower id. -1 if a logit is NaN or none is finite.
inline std::int64_t greedy_token(std::span<const float> logits) {
  std::int64_t best = -1;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) return -1;
    if (best < 0 || logits[i] > logits[static_cast<std::size_t>(best)]) best = static_cast<std::int64_t>(i);
  }
  return best >= 0 && std::isfinite(logits[static_cast<std::size_t>(best)]) ? best : -1;
}

namespace detail {
/// The k-th largest of some numbers, none of them NaN; 0 < k <= their count. One pass, with room for 2 k of them.
inline float kth_largest(std::span<const float> x, std::size_t k) {
  std::vector<float> largest;
  largest.reserve(2 * k);
  const auto kth = largest.begin() + static_cast<std::ptrdiff_t>(k) - 1;  // stays: there is room
  float least = -std::numeric_limits<float>::infinity();
  bool bounded = false;
  for (const float value : x) {
    if (bounded && value <= least) continue;
    largest.push_back(value);
    if (largest.size() < 2 * k) continue;
    std::nth_element(largest.begin(), kth, largest.end(), std::greater<>());
    least = *kth;
    bounded = true;
    largest.resize(k);
  }
  std::nth_element(largest.begin(), kth, largest.end(), std::greater<>());
  return *kth;
}
}  // namespace detail

/// The next token of row `row` at position `position`; -1 as above. Temperature, then top-k, then top-p.
inline std::int64_t sample_token(std::span<const float> logits, const sampling_options& o, std::uint64_t row, std::uint64_t position) {
  const std::int64_t best = greedy_token(logits);
  if (best < 0 || o.temperature <= 0) return best;
  struct candidate {
    std::uint32_t id;
    float weight;  // probability, but for the common divisor
  };
  const float largest = logits[static_cast<std::size_t>(best)];
  const bool few = o.top_k > 0 && static_cast<std::size_t>(o.top_k) < logits.size();
  const float least_logit = few ? detail::kth_largest(logits, static_cast<std::size_t>(o.top_k)) : -std::numeric_limits<float>::infinity();
  // Of equal logits at the end of the k those of the lower ids.
  std::int64_t of_equal = few ? o.top_k - std::count_if(logits.begin(), logits.end(), [&](float l) { return l > least_logit; })
                              : static_cast<std::int64_t>(logits.size());
  std::vector<candidate> kept;  // in the order of ids
  kept.reserve(few ? static_cast<std::size_t>(o.top_k) : logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] < least_logit || (logits[i] == least_logit && of_equal-- <= 0)) continue;
    kept.push_back({static_cast<std::uint32_t>(i), std::exp(static_cast<float>(static_cast<double>(logits[i] - largest) / o.temperature))});
  }
  const auto total_of = [&] {
    double total = 0;
    for (const candidate& c : kept) total += static_cast<double>(c.weight);
    return total;
  };
  if (o.top_p < 1) {
    const double total = total_of();
    // Tokens below an equal share of what may be left out are never needed: dropping them keeps the sort short.
    const double least = (1 - o.top_p) * total / static_cast<double>(kept.size());
    std::erase_if(kept, [&](const candidate& c) { return static_cast<double>(c.weight) < least && c.id != best; });
    std::sort(kept.begin(), kept.end(), [&](const candidate& a, const candidate& b) {
      return logits[a.id] != logits[b.id] ? logits[a.id] > logits[b.id] : a.id < b.id;
    });
    double reached = 0;
    std::size_t count = 0;
    while (count < kept.size() && (count == 0 || reached < o.top_p * total)) reached += static_cast<double>(kept[count++].weight);
    kept.resize(count);
    std::sort(kept.begin(), kept.end(), [](const candidate& a, const candidate& b) { return a.id < b.id; });
  }
  // In the order of ids, so that two tokens whose logits differ by rounding do not change places.
  const double wanted = uniform(mix(stream_key(o.seed, "sample") ^ mix(row)), position) * total_of();
  double reached = 0;
  for (const candidate& c : kept) {
    reached += static_cast<double>(c.weight);
    if (wanted < reached) return c.id;
  }
  return kept.back().id;  // rounding of the sum
}

}  // namespace plait::inline v0_1
