#pragma once
// What the attention kernels with mma.sync (m16n8k16, float32 sums) share: tiles of 64 rows in shared memory, which arrive by asynchronous
// copies, and products of them, by a warp.
#include <cmath>

#include "plait/kernels/cuda/attention.cuh"
#include "plait/kernels/ptx_sm80.cuh"

namespace plait::inline v0_1::cuda::by_mma {

namespace ptx = kernels::ptx;

inline constexpr int tile = 64, threads = 128;  // four warps of 16 rows

/// A tile of 64 rows of D elements in shared memory: 16-byte chunks, the chunk's number mixed with the row's so that eight rows of one
/// column lie in different banks.
template <int D>
struct tile_at {
  unsigned base;
  static constexpr int bytes = tile * D * 2;
  __device__ __forceinline__ unsigned chunk(int row, int c) const { return base + row * (D * 2) + ((c ^ (row & 7)) << 4); }
};

/// Starts copying rows [first, first + 64) of a matrix; what lies outside it becomes zeros.
template <int D>
__device__ __forceinline__ void start_copy(tile_at<D> to, const bf16* from, index step, index first, index count, int width) {
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < tile * (D / 8); i += threads) {
    const int r = i / (D / 8), c = i % (D / 8);
    const bool here = first + r < count && c * 8 < width;
    ptx::copy_16(to.chunk(r, c), here ? from + (first + r) * step + c * 8 : from, here);
  }
}

/// 16 rows of `a` from `row_a` on times the transpose of N8 * 8 rows of `b` from `row_b` on: c[n8] = a b^T, overwritten. A warp's work.
template <int N8, int D>
__device__ __forceinline__ void multiply_rows(float (&c)[N8][4], tile_at<D> a, int row_a, tile_at<D> b, int row_b) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int n = 0; n < N8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) c[n][i] = 0;
#pragma unroll
  for (int k = 0; k < D / 16; ++k) {
    unsigned x[4];
    ptx::load_matrices(x, a.chunk(row_a + lane % 16, k * 2 + lane / 16));
#pragma unroll
    for (int n = 0; n < N8; n += 2) {
      unsigned y[4];
      ptx::load_matrices(y, b.chunk(row_b + n * 8 + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2));
      ptx::multiply_add(c[n], x, y[0], y[1]);
      ptx::multiply_add(c[n + 1], x, y[2], y[3]);
    }
  }
}

/// o += p m: p is this warp's 16 rows by N8 * 8 columns as products left it, m the rows of that number from `row_m` on.
template <int N8, int D>
__device__ __forceinline__ void multiply_add(float (&o)[D / 8][4], const float (&p)[N8][4], tile_at<D> m, int row_m) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int k = 0; k < N8; k += 2) {
    const unsigned x[4] = {ptx::pack_bf16(p[k][0], p[k][1]), ptx::pack_bf16(p[k][2], p[k][3]), ptx::pack_bf16(p[k + 1][0], p[k + 1][1]),
                           ptx::pack_bf16(p[k + 1][2], p[k + 1][3])};
#pragma unroll
    for (int d = 0; d < D / 8; d += 2) {
      unsigned y[4];
      ptx::load_matrices<true>(y, m.chunk(row_m + k * 8 + lane % 16, d + lane / 16));
      ptx::multiply_add(o[d], x, y[0], y[1]);
      ptx::multiply_add(o[d + 1], x, y[2], y[3]);
    }
  }
}

/// Online softmax of a warp's 16 rows over N8 * 8 keys from `key` on: scores c, times `factor` (to base 2), become probabilities; sums o and
/// totals of earlier keys shrink with the new largest score. `full`: every row sees all of these keys.
template <int N8, int O8>
__device__ __forceinline__ void soften(float (&c)[N8][4], const key_range (&seen)[2], bool full, int key, float factor, float (&largest)[2],
                                       float (&total)[2], float (&o)[O8][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float best = largest[half];
#pragma unroll
    for (int n = 0; n < N8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& x = c[n][half * 2 + i];
        x *= factor;
        const int at = key + n * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + i;
        if (!full && (at < seen[half].from || at >= seen[half].to)) x = -INFINITY;
        best = fmaxf(best, x);
      }
    best = over_4(best, larger{});
    const float shift = best == -INFINITY ? 0.0f : best, shrink = exp2f(largest[half] - shift);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < N8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& x = c[n][half * 2 + i];
        x = exp2f(x - shift);
        sum += x;
      }
    total[half] = total[half] * shrink + sum;
    largest[half] = best;
#pragma unroll
    for (int d = 0; d < O8; ++d) o[d][half * 2] *= shrink, o[d][half * 2 + 1] *= shrink;
  }
}

/// Tiles in shared memory, one after the other: two that stay, then pairs that are loaded in turn. Widths D and V, or D alone first.
template <int D, int V, bool Both>
struct tiles {
  unsigned base;
  static constexpr int kept = tile_at<D>::bytes + (Both ? tile_at<V>::bytes : 0), pair = tile_at<D>::bytes + tile_at<V>::bytes;
  static constexpr std::size_t bytes = kept + 2 * pair;
  __device__ __forceinline__ tile_at<D> first() const { return {base}; }
  __device__ __forceinline__ tile_at<V> second() const { return {base + tile_at<D>::bytes}; }
  __device__ __forceinline__ tile_at<D> wide(int stage) const { return {base + kept + pair * stage}; }
  __device__ __forceinline__ tile_at<V> narrow(int stage) const { return {base + kept + pair * stage + tile_at<D>::bytes}; }
};

/// Narrower heads than 32 are left to the plain kernel: tiles of 64 columns would be mostly zeros, and it keeps probabilities in float32.
inline bool fits(const queue& on, const attention_shape& s, const view& q, const view& k, const view& v) {
  return q.type == dtype::bf16 && s.width % 8 == 0 && s.value_width % 8 == 0 && s.value_width >= 32 && s.value_width <= s.width &&
         s.width <= 192 && s.value_width <= 128 && (s.width <= 128 || on.block_shared >= tiles<192, 128, true>::bytes + 4096) &&
         aligned16(q.as<char>(), k.as<char>(), v.as<char>());
}
/// Calls body(width, values' width): of the tiles.
template <class F>
void with_width(const attention_shape& s, F&& body) {
  if (s.width <= 64) body(std::integral_constant<int, 64>{}, std::integral_constant<int, 64>{});
  else if (s.width <= 128) body(std::integral_constant<int, 128>{}, std::integral_constant<int, 128>{});
  else body(std::integral_constant<int, 192>{}, std::integral_constant<int, 128>{});
}

}  // namespace plait::inline v0_1::cuda::by_mma
