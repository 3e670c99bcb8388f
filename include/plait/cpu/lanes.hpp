#pragma once
// Row primitives: sums with several partial sums in a fixed order, maximum, and an exponential that vectorises.
#include <bit>
#include <cmath>
#include <limits>

#include "plait/cpu/numbers.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#elif defined(__AVX__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
#endif

template <class S>
struct lanes_of {
  static constexpr int count = vector_bytes / static_cast<int>(sizeof(S));
  typedef S type __attribute__((vector_size(vector_bytes)));
};

/// Adds term(i) over [0, n), where wide(i) gives the terms i .. i + lanes - 1 as one vector. Four partial vectors.
template <class S, class Wide, class Term>
inline S sum_terms(index n, const Wide& wide, const Term& term) {
  using vec = typename lanes_of<S>::type;
  constexpr int lanes = lanes_of<S>::count;
  vec s0 = {}, s1 = {}, s2 = {}, s3 = {};
  index i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    vec t0, t1, t2, t3;
    wide(i, t0);
    wide(i + lanes, t1);
    wide(i + 2 * lanes, t2);
    wide(i + 3 * lanes, t3);
    s0 += t0;
    s1 += t1;
    s2 += t2;
    s3 += t3;
  }
  for (; i + lanes <= n; i += lanes) {
    vec t;
    wide(i, t);
    s0 += t;
  }
  s0 = (s0 + s1) + (s2 + s3);
  S part[lanes];
  std::memcpy(part, &s0, sizeof part);
  for (int half = lanes / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) part[l] += part[l + half];
  }
  S tail = 0;
  for (; i < n; ++i) tail += term(i);
  return part[0] + tail;
}

template <class S>
[[gnu::noinline]] S sum(const S* a, index n) {
  using vec = typename lanes_of<S>::type;
  return sum_terms<S>(
      n, [a](index i, vec& t) { std::memcpy(&t, a + i, sizeof t); }, [a](index i) { return a[i]; });
}

template <class S>
[[gnu::noinline]] S dot(const S* a, const S* b, index n) {
  using vec = typename lanes_of<S>::type;
  return sum_terms<S>(
      n,
      [a, b](index i, vec& t) {
        vec u;
        std::memcpy(&t, a + i, sizeof t);
        std::memcpy(&u, b + i, sizeof u);
        t *= u;
      },
      [a, b](index i) { return a[i] * b[i]; });
}

/// sum of a[i] b[i] c[i]
template <class S>
[[gnu::noinline]] S dot(const S* a, const S* b, const S* c, index n) {
  using vec = typename lanes_of<S>::type;
  return sum_terms<S>(
      n,
      [a, b, c](index i, vec& t) {
        vec u;
        std::memcpy(&t, a + i, sizeof t);
        std::memcpy(&u, b + i, sizeof u);
        t *= u;
        std::memcpy(&u, c + i, sizeof u);
        t *= u;
      },
      [a, b, c](index i) { return a[i] * b[i] * c[i]; });
}

/// The largest element (NaNs are passed over); minus infinity for n = 0.
template <class S>
[[gnu::noinline]] S maximum(const S* a, index n) {
  constexpr int lanes = 2 * lanes_of<S>::count;
  S best[lanes];
  for (S& b : best) b = -std::numeric_limits<S>::infinity();
  index i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) best[l] = a[i + l] > best[l] ? a[i + l] : best[l];
  }
  for (; i < n; ++i) best[0] = a[i] > best[0] ? a[i] : best[0];
  for (int l = 1; l < lanes; ++l) best[0] = best[l] > best[0] ? best[l] : best[0];
  return best[0];
}

/// e^x, branch-free so that loops over it vectorise. At most about 1 ulp off; right for infinities, NaN and denormal results.
inline float exponential(float x) {
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  const float shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: the fraction bits now hold round(x / ln 2)
  const float n = shifted - 12582912.0f;
  const std::uint32_t exponent = std::bit_cast<std::uint32_t>(shifted) - 0x4b400000u;
  float r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n in two factors: n reaches 128 and, for denormal results, -150.
  const std::uint32_t half = static_cast<std::uint32_t>(static_cast<std::int32_t>(exponent) >> 1);
  const float scale1 = std::bit_cast<float>((half + 127u) << 23);
  const float scale2 = std::bit_cast<float>((exponent - half + 127u) << 23);
  return p * scale1 * scale2;
}
inline double exponential(double x) { return std::exp(x); }

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
