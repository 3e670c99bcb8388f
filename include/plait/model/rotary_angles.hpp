#pragma once
// Angles of the rotary embedding (arXiv 2104.09864) for the positions of a batch, on the host.
#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <unordered_map>
#include <vector>

#include "plait/io/model_config.hpp"
#include "plait/model/batch.hpp"

namespace plait::inline v0_1 {
namespace detail {

/// Pairs of dims between which yarn goes over from frequencies as they are to stretched ones: those that turn beta_fast and beta_slow
/// times within the original positions.
inline std::pair<double, double> yarn_ramp(const io::rope_scaling& s, std::int64_t width, double theta) {
  const double dims = static_cast<double>(width);
  const auto pair_turning = [&](double turns) {
    return dims * std::log(s.original_positions / (turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  double low = pair_turning(s.beta_fast), high = pair_turning(s.beta_slow);
  if (s.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, dims - 1);
  return {low, low == high ? high + 0.001 : high};
}

}  // namespace detail

/// What the frequencies of a row of `length` tokens go by: rows with the same answer turn alike, and so do keys in a cache as long as the
/// answer for their row stays the same.
inline double turning_length(const io::rope_scaling& s, double length) {
  using kind = io::rope_scaling::kind;
  const bool goes_by_length = s.type == kind::dynamic || s.type == kind::longrope || s.beyond_factor != 0;
  if (!goes_by_length || length <= s.original_positions) return 0;
  return s.type == kind::dynamic ? length : s.original_positions + 1;
}

/// theta^(-2i / width) for i < width / 2, stretched as `scaling` says (transformers modeling_rope_utils), in its order of operations.
/// `length`: how many positions the row reaches, for the types that go by it.
template <class Statistic>
std::vector<Statistic> rotary_frequencies(std::int64_t width, double theta, const io::rope_scaling& scaling, double length = 0) {
  using stat = Statistic;
  using kind = io::rope_scaling::kind;
  std::vector<stat> all(static_cast<std::size_t>(width / 2));
  const auto [low, high] = scaling.type == kind::yarn ? detail::yarn_ramp(scaling, width, theta) : std::pair(0.0, 1.0);
  const stat factor = static_cast<stat>(scaling.factor), whole = static_cast<stat>(scaling.original_positions);
  const stat slow = static_cast<stat>(scaling.low_frequency), fast = static_cast<stat>(scaling.high_frequency);
  const bool beyond = length > scaling.original_positions;
  if (scaling.type == kind::dynamic) {
    const double stretch = beyond ? scaling.factor * length / scaling.original_positions - (scaling.factor - 1) : scaling.alpha > 0 ? scaling.alpha : 1;
    theta *= std::pow(stretch, static_cast<double>(width) / static_cast<double>(width - 2));
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    const stat period = static_cast<stat>(std::pow(static_cast<stat>(theta), static_cast<stat>(2 * i) / static_cast<stat>(width)));
    stat f = stat(1) / period;
    if (scaling.type == kind::linear) {
      f /= factor;
    } else if (scaling.type == kind::longrope) {
      f = stat(1) / (static_cast<stat>((beyond ? scaling.long_factors : scaling.short_factors)[i]) * period);
    } else if (scaling.type == kind::llama3) {
      const stat turns = whole / (static_cast<stat>(2 * std::numbers::pi) / f);
      const stat blend = (turns - slow) / (fast - slow);
      if (turns < slow) f /= factor;
      else if (turns <= fast && slow < fast) f = (1 - blend) * f / factor + blend * f;
    } else if (scaling.type == kind::yarn) {
      const stat ramp = (static_cast<stat>(i) - static_cast<stat>(low)) / static_cast<stat>(high - low);
      const stat kept = 1 - std::clamp(ramp, stat(0), stat(1));
      f = stat(1) / (factor * period) * (1 - kept) + f * kept;
    }
    all[i] = f;
  }
  return all;
}

/// cos and sin of position x frequency, times the scaling's factor, as [B, S, width / 2]. Each row by its own length: transformers takes the
/// longest row's, which is the same unless a batch is padded on the left, and a row's tokens must not depend on its neighbours.
template <class Statistic>
struct rotary_angles {
  std::int64_t half = 0;
  std::vector<Statistic> cosine, sine;

  rotary_angles(const batch& in, std::int64_t width, double theta, const io::rope_scaling& scaling = {}) : half(width / 2) {
    cosine.resize(static_cast<std::size_t>(in.rows * in.columns * half));
    sine.resize(cosine.size());
    std::map<double, turned> by_length;
    for (std::int64_t row = 0; row < in.rows; ++row) {
      const auto begin = in.positions.begin() + row * in.columns, end = begin + in.columns;
      const double length = turning_length(scaling, begin == end ? 0 : 1.0 + *std::max_element(begin, end));
      const auto [at, fresh] = by_length.try_emplace(length);
      if (fresh) at->second = {rotary_frequencies<Statistic>(width, theta, scaling, length), factor_of(scaling, length), {}};
      fill(at->second, in, row * in.columns, (row + 1) * in.columns);
    }
  }

 private:
  struct turned {
    std::vector<Statistic> frequency;
    Statistic factor;
    std::unordered_map<std::int32_t, std::int64_t> first;  // where a position came first: rows repeat them, and these functions are slow
  };
  static Statistic factor_of(const io::rope_scaling& scaling, double length) {
    const bool beyond = length > scaling.original_positions && scaling.beyond_factor != 0;
    return static_cast<Statistic>(beyond ? scaling.beyond_factor : scaling.attention_factor);
  }
  void fill(turned& t, const batch& in, std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const auto [seen, fresh] = t.first.try_emplace(in.positions[static_cast<std::size_t>(n)], n);
      if (!fresh) {
        std::copy_n(cosine.begin() + seen->second * half, half, cosine.begin() + n * half);
        std::copy_n(sine.begin() + seen->second * half, half, sine.begin() + n * half);
        continue;
      }
      for (std::int64_t i = 0; i < half; ++i) {
        const Statistic angle = static_cast<Statistic>(seen->first) * t.frequency[static_cast<std::size_t>(i)];
        cosine[static_cast<std::size_t>(n * half + i)] = std::cos(angle) * t.factor;
        sine[static_cast<std::size_t>(n * half + i)] = std::sin(angle) * t.factor;
      }
    }
  }
};

}  // namespace plait::inline v0_1
