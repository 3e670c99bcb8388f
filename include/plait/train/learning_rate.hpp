#pragma once
// The learning rate as a function of the step alone, so that a run that is stopped and continued has the same one.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace plait::inline v0_1 {

enum class learning_rate_decay : int { none, linear, cosine };

/// Steps count from 1. The rate rises in equal steps over the first `warmup` ones to its peak, then falls to `least` at step `last`: in equal
/// steps, or along half a cosine (arXiv 1608.03983). After `last` it stays.
struct learning_rate {
  double peak = 1e-3, least = 0;
  std::int64_t warmup = 0, last = 0;
  learning_rate_decay decay = learning_rate_decay::none;

  double at(std::int64_t step) const {
    if (step < warmup) return peak * static_cast<double>(step) / static_cast<double>(warmup);
    if (decay == learning_rate_decay::none || last <= warmup) return peak;
    const double done = std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(last - warmup));
    return least + (peak - least) * (decay == learning_rate_decay::linear ? 1 - done : (1 + std::cos(std::numbers::pi * done)) / 2);
  }
};

}  // namespace plait::inline v0_1
