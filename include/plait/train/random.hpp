#pragma once
// Random values as a function of (seed, stream name, global index): what they are does not depend on the plan, the rank count or
// the order in which they are drawn.
#include <cmath>
#include <cstdint>
#include <string_view>

namespace plait::inline v0_1 {

/// Mixes 64 bits (the finaliser of SplitMix64, Steele et al. 2014).
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}
constexpr std::uint64_t stream_key(std::uint64_t seed, std::string_view name) {
  std::uint64_t key = mix(seed);
  for (const char ch : name) key = mix(key ^ static_cast<unsigned char>(ch));
  return key;
}
/// Uniform in (0, 1).
constexpr double uniform(std::uint64_t key, std::uint64_t index) {
  return (static_cast<double>(mix(key ^ mix(index)) >> 11) + 0.5) * 0x1p-53;
}
/// Standard normal (Box-Muller).
inline double normal(std::uint64_t key, std::uint64_t index) {
  return std::sqrt(-2.0 * std::log(uniform(key, 2 * index))) * std::cos(6.283185307179586 * uniform(key, 2 * index + 1));
}

}  // namespace plait::inline v0_1
