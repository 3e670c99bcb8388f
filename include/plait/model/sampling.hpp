#pragma once
// Choosing the next token from a row of logits. Random numbers are a function of (seed, row, position), so a choice depends on the
// logits alone and never on the plan, the ranks or what else is in the batch.
#include <algorithm>
#include <cmath>
#include <cstdint>
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

/// The next token of row `row` at position `position`; -1 as above. Temperature, then top-k, then top-p.
inline std::int64_t sample_token(std::span<const float> logits, const sampling_options& o, std::uint64_t row, std::uint64_t position) {
  const std::int64_t best = greedy_token(logits);
  if (best < 0 || o.temperature <= 0) return best;
  struct candidate {
    std::int64_t id;
    double weight;  // probability, but for the common divisor
  };
  const double largest = static_cast<double>(logits[static_cast<std::size_t>(best)]);
  std::vector<candidate> kept;
  kept.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i)
    kept.push_back({static_cast<std::int64_t>(i), std::exp((static_cast<double>(logits[i]) - largest) / o.temperature)});
  const auto logit = [&](const candidate& c) { return logits[static_cast<std::size_t>(c.id)]; };
  const auto before = [&](const candidate& a, const candidate& b) { return logit(a) != logit(b) ? logit(a) > logit(b) : a.id < b.id; };
  if (o.top_k > 0 && static_cast<std::size_t>(o.top_k) < kept.size()) {
    std::nth_element(kept.begin(), kept.begin() + (o.top_k - 1), kept.end(), before);
    kept.resize(static_cast<std::size_t>(o.top_k));
  }
  const auto by_id = [](const candidate& a, const candidate& b) { return a.id < b.id; };
  std::sort(kept.begin(), kept.end(), by_id);
  const auto total_of = [&] {
    double total = 0;
    for (const candidate& c : kept) total += c.weight;
    return total;
  };
  if (o.top_p < 1) {
    const double total = total_of();
    // Tokens below an equal share of what may be left out are never needed: dropping them keeps the sort short.
    const double least = (1 - o.top_p) * total / static_cast<double>(kept.size());
    std::erase_if(kept, [&](const candidate& c) { return c.weight < least && c.id != best; });
    std::sort(kept.begin(), kept.end(), before);
    double reached = 0;
    std::size_t count = 0;
    while (count < kept.size() && (count == 0 || reached < o.top_p * total)) reached += kept[count++].weight;
    kept.resize(count);
    std::sort(kept.begin(), kept.end(), by_id);
  }
  // In the order of ids, so that two tokens whose logits differ by rounding do not change places.
  const double wanted = uniform(mix(stream_key(o.seed, "sample") ^ mix(row)), position) * total_of();
  double reached = 0;
  for (const candidate& c : kept) {
    reached += c.weight;
    if (wanted < reached) return c.id;
  }
  return kept.back().id;  // rounding of the sum
}

}  // namespace plait::inline v0_1
