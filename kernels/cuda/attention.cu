// Causal attention within segments, in O(S) memory: scores live in tiles. The plain kernels here take any type, and keys and values of
// any width up to 256; gradients are recomputed from the log-sums in two passes (queries, then keys), so that nothing is added atomically.
#include <cmath>

#include "plait/kernels/cuda/attention.cuh"
#include "plait/kernels/cuda/ops.hpp"

namespace plait::inline v0_1::cuda {
namespace {

/// Rows [first, first + Tile) of a matrix with `count` rows of `width` elements, `step` apart; zeros outside.
template <int Tile, int D, class T>
__device__ __forceinline__ void load_tile(float (*to)[D + 4], const T* from, index step, index first, index count, int width) {
  for (int i = static_cast<int>(threadIdx.x); i < Tile * D; i += 256) {
    const int r = i / D, c = i % D;
    to[r][c] = first + r < count && c < width ? convert<float>(from[(first + r) * step + c]) : 0.0f;
  }
}

/// s[i][j] = row ty R + i of a times row tx + 16 j of b.
template <int R, int D>
__device__ __forceinline__ void multiply_rows(const float (*a)[D + 4], const float (*b)[D + 4], float (&s)[R][R]) {
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
  for (int i = 0; i < R; ++i)
#pragma unroll
    for (int j = 0; j < R; ++j) s[i][j] = 0;
#pragma unroll 4
  for (int d = 0; d < D; ++d) {
    float x[R], y[R];
#pragma unroll
    for (int i = 0; i < R; ++i) x[i] = a[ty * R + i][d], y[i] = b[tx + 16 * i][d];
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
      for (int j = 0; j < R; ++j) s[i][j] += x[i] * y[j];
  }
}

/// o[i][j] += sum_k p(ty R + i, k) m[k][tx + 16 j]; Transposed: p(i, k) is p[k][i].
template <bool Transposed, int Tile, int R, int D>
__device__ __forceinline__ void multiply_add(const float (*p)[Tile + 1], const float (*m)[D + 4], float (&o)[R][D / 16]) {
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  for (int k = 0; k < Tile; ++k) {
    float x[R];
#pragma unroll
    for (int i = 0; i < R; ++i) x[i] = Transposed ? p[k][ty * R + i] : p[ty * R + i][k];
#pragma unroll
    for (int j = 0; j < D / 16; ++j) {
      const float y = m[k][tx + 16 * j];
#pragma unroll
      for (int i = 0; i < R; ++i) o[i][j] += x[i] * y;
    }
  }
}

template <class Op>
__device__ __forceinline__ float over_16(float value, Op op) {
#pragma unroll
  for (int step = 8; step > 0; step /= 2) value = op(value, __shfl_xor_sync(~0u, value, step));
  return value;
}

template <class T, int D, int Tile>
struct plain_shared {
  float q[Tile][D + 4], k[Tile][D + 4], v[Tile][D + 4], p[Tile][Tile + 1];
  key_range range[Tile];
};

template <class T, int D, int Tile>
__global__ void __launch_bounds__(256)
    plain_forward(attention_shape s, const T* q, const T* k, const T* v, const int* segments, float scale, T* out, float* lse) {
  extern __shared__ float4 raw[];
  auto& m = *reinterpret_cast<plain_shared<T, D, Tile>*>(raw);
  constexpr int R = Tile / 16;
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  const index first = static_cast<index>(blockIdx.x) * Tile, h = blockIdx.y, b = blockIdx.z, hk = h / s.group;
  const tile_range seen = ranges_of<Tile>(s, segments, b, first, m.range);
  load_tile<Tile, D>(m.q, q + s.q_at(b, 0, h), s.q_step(), first, s.queries, s.width);
  float o[R][D / 16] = {}, largest[R], total[R] = {};
  for (float& x : largest) x = -INFINITY;
  for (int key = seen.low / Tile * Tile; key < seen.high; key += Tile) {
    __syncthreads();
    load_tile<Tile, D>(m.k, k + s.k_at(b, 0, hk), s.k_step(), key, s.keys, s.width);
    load_tile<Tile, D>(m.v, v + s.v_at(b, 0, hk), s.v_step(), key, s.keys, s.value_width);
    __syncthreads();
    float c[R][R];
    multiply_rows<R, D>(m.q, m.k, c);
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const key_range r = m.range[ty * R + i];
      float best = largest[i];
#pragma unroll
      for (int j = 0; j < R; ++j) {
        const int at = key + tx + 16 * j;
        c[i][j] = at >= r.from && at < r.to ? c[i][j] * scale : -INFINITY;
        best = c[i][j] > best ? c[i][j] : best;
      }
      best = over_16(best, larger{});
      const float shift = best == -INFINITY ? 0.0f : best, factor = expf(largest[i] - shift);
      float sum = 0;
#pragma unroll
      for (int j = 0; j < R; ++j) {
        const float e = expf(c[i][j] - shift);
        m.p[ty * R + i][tx + 16 * j] = e;
        sum += e;
      }
      total[i] = total[i] * factor + over_16(sum, plus{});
      largest[i] = best;
#pragma unroll
      for (int j = 0; j < D / 16; ++j) o[i][j] *= factor;
    }
    __syncthreads();
    multiply_add<false, Tile, R, D>(m.p, m.v, o);
  }
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const index row = first + ty * R + i;
    if (row >= s.queries) continue;
    const bool sees = total[i] != 0.0f;  // a NaN stays one
#pragma unroll
    for (int j = 0; j < D / 16; ++j)
      if (tx + 16 * j < s.value_width) out[s.out_at(b, row, h) + tx + 16 * j] = convert<T>(sees ? o[i][j] / total[i] : 0.0f);
    if (lse != nullptr && tx == 0) lse[(b * s.heads + h) * s.queries + row] = sees ? largest[i] + logf(total[i]) : -INFINITY;
  }
}

template <class T, int D, int Tile>
struct plain_gradient_shared {
  float q[Tile][D + 4], dout[Tile][D + 4], k[Tile][D + 4], v[Tile][D + 4], p[Tile][Tile + 1], d[Tile][Tile + 1];
  key_range range[Tile];
  float lse[Tile], delta[Tile];
};

/// p = exp(scale q k - lse) within the range, else 0; d = p (dout v - delta) scale: both into shared memory, [query][key].
template <class T, int D, int Tile>
__device__ __forceinline__ void plain_scores(plain_gradient_shared<T, D, Tile>& m, int key, float scale) {
  constexpr int R = Tile / 16;
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  float c[R][R], g[R][R];
  multiply_rows<R, D>(m.q, m.k, c);
  multiply_rows<R, D>(m.dout, m.v, g);
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int row = ty * R + i;
    const key_range r = m.range[row];
#pragma unroll
    for (int j = 0; j < R; ++j) {
      const int at = key + tx + 16 * j;
      const float p = at >= r.from && at < r.to ? expf(c[i][j] * scale - m.lse[row]) : 0.0f;
      m.p[row][tx + 16 * j] = p;
      m.d[row][tx + 16 * j] = p == 0.0f ? 0.0f : p * (g[i][j] - m.delta[row]) * scale;
    }
  }
}

template <class T, int D, int Tile>
__global__ void __launch_bounds__(256) plain_query_gradient(attention_shape s, const T* q, const T* k, const T* v, const int* segments,
                                                            float scale, const float* lse, const float* delta, const T* dout, T* dq) {
  extern __shared__ float4 raw[];
  auto& m = *reinterpret_cast<plain_gradient_shared<T, D, Tile>*>(raw);
  constexpr int R = Tile / 16;
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  const index first = static_cast<index>(blockIdx.x) * Tile, h = blockIdx.y, b = blockIdx.z, hk = h / s.group;
  const tile_range seen = ranges_of<Tile>(s, segments, b, first, m.range);
  load_tile<Tile, D>(m.q, q + s.q_at(b, 0, h), s.q_step(), first, s.queries, s.width);
  load_tile<Tile, D>(m.dout, dout + s.out_at(b, 0, h), s.out_step(), first, s.queries, s.value_width);
  statistics_of<Tile>(s, b, h, first, lse, delta, m.lse, m.delta);
  float o[R][D / 16] = {};
  for (int key = seen.low / Tile * Tile; key < seen.high; key += Tile) {
    __syncthreads();
    load_tile<Tile, D>(m.k, k + s.k_at(b, 0, hk), s.k_step(), key, s.keys, s.width);
    load_tile<Tile, D>(m.v, v + s.v_at(b, 0, hk), s.v_step(), key, s.keys, s.value_width);
    __syncthreads();
    plain_scores<T, D, Tile>(m, key, scale);
    __syncthreads();
    multiply_add<false, Tile, R, D>(m.d, m.k, o);
  }
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const index row = first + ty * R + i;
    if (row >= s.queries) continue;
#pragma unroll
    for (int j = 0; j < D / 16; ++j)
      if (tx + 16 * j < s.width) dq[s.q_at(b, row, h) + tx + 16 * j] = convert<T>(o[i][j]);
  }
}

template <class T, int D, int Tile>
__global__ void __launch_bounds__(256) plain_key_gradient(attention_shape s, const T* q, const T* k, const T* v, const int* segments,
                                                          float scale, const float* lse, const float* delta, const T* dout, T* dk, T* dv) {
  extern __shared__ float4 raw[];
  auto& m = *reinterpret_cast<plain_gradient_shared<T, D, Tile>*>(raw);
  constexpr int R = Tile / 16;
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  const index hk = blockIdx.y, b = blockIdx.z;
  const int key = static_cast<int>(blockIdx.x) * Tile;
  load_tile<Tile, D>(m.k, k + s.k_at(b, 0, hk), s.k_step(), key, s.keys, s.width);
  load_tile<Tile, D>(m.v, v + s.v_at(b, 0, hk), s.v_step(), key, s.keys, s.value_width);
  float gk[R][D / 16] = {}, gv[R][D / 16] = {};
  // Query i stands at key i + keys - queries: earlier ones see none of these keys.
  index start = key - (s.keys - s.queries);
  start = start < 0 ? 0 : start / Tile * Tile;
  for (index first = start; first < s.queries; first += Tile) {
    __syncthreads();
    const tile_range seen = ranges_of<Tile>(s, segments, b, first, m.range);
    if (seen.low >= key + Tile || seen.high <= key) continue;  // the same for all threads
    for (index h = hk * s.group; h < (hk + 1) * s.group; ++h) {
      __syncthreads();
      load_tile<Tile, D>(m.q, q + s.q_at(b, 0, h), s.q_step(), first, s.queries, s.width);
      load_tile<Tile, D>(m.dout, dout + s.out_at(b, 0, h), s.out_step(), first, s.queries, s.value_width);
      statistics_of<Tile>(s, b, h, first, lse, delta, m.lse, m.delta);
      __syncthreads();
      plain_scores<T, D, Tile>(m, key, scale);
      __syncthreads();
      multiply_add<true, Tile, R, D>(m.p, m.dout, gv);
      multiply_add<true, Tile, R, D>(m.d, m.q, gk);
    }
  }
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const index row = key + ty * R + i;
    if (row >= s.keys) continue;
#pragma unroll
    for (int j = 0; j < D / 16; ++j) {
      const int c = tx + 16 * j;
      if (dk != nullptr && c < s.width) dk[s.k_at(b, row, hk) + c] = convert<T>(gk[i][j]);
      if (dv != nullptr && c < s.value_width) dv[s.v_at(b, row, hk) + c] = convert<T>(gv[i][j]);
    }
  }
}

/// delta[b, h, i] = out . dout; a warp a row.
template <class T>
__global__ void __launch_bounds__(256) delta_kernel(attention_shape s, const T* out, const T* dout, float* delta) {
  const index rows = s.batch * s.queries * s.heads, row = static_cast<index>(blockIdx.x) * 8 + threadIdx.x / 32;
  if (row >= rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float sum = 0;
  for (int c = lane; c < s.value_width; c += 32)
    sum += convert<float>(out[row * s.value_width + c]) * convert<float>(dout[row * s.value_width + c]);
  sum = over_warp(sum, plus{});
  const index h = row % s.heads, i = row / s.heads % s.queries, b = row / s.heads / s.queries;
  if (lane == 0) delta[(b * s.heads + h) * s.queries + i] = sum;
}

/// Calls body(width bound, tile); half the tile where a block may not have the shared memory that the whole one needs.
template <template <class, int, int> class Shared, class T, class F>
void with_width(const queue& on, const attention_shape& s, F&& body) {
  const auto fitting = [&](auto d, auto t) {
    constexpr int D = decltype(d)::value, Tile = decltype(t)::value;
    static_assert(sizeof(Shared<T, D, Tile / 2>) <= least_block_shared);
    if constexpr (sizeof(Shared<T, D, Tile>) > least_block_shared)
      if (sizeof(Shared<T, D, Tile>) > on.block_shared) return body(d, std::integral_constant<int, Tile / 2>{});
    body(d, t);
  };
  const int width = s.width > s.value_width ? s.width : s.value_width;
  if (width <= 32) fitting(std::integral_constant<int, 32>{}, std::integral_constant<int, 64>{});
  else if (width <= 64) fitting(std::integral_constant<int, 64>{}, std::integral_constant<int, 64>{});
  else if (width <= 128) fitting(std::integral_constant<int, 128>{}, std::integral_constant<int, 64>{});
  else if (width <= 256) fitting(std::integral_constant<int, 256>{}, std::integral_constant<int, 32>{});
  else throw std::runtime_error("plait: the CUDA backend's attention takes heads of at most 256 elements");
}

}  // namespace

void attention(const execution& ex, view q, view k, view v, view segment_start, std::int64_t keys, double scale, view out, view lse) {
  if (out.size() == 0) return;
  queue& on = queue_of(ex);
  const attention_shape s(q, k, v, keys);
  const int* segments = segment_start.as<const int>();
  const auto factor = static_cast<float>(scale);
  for (const auto served : {few_query_attention, wgmma_attention, mma_attention})
    if (served(on, s, q, k, v, segments, factor, out, lse.as<float>())) return;
  visit_float("attention", q.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_width<plain_shared, T>(on, s, [&](auto d, auto t) {
      constexpr int D = decltype(d)::value, Tile = decltype(t)::value;
      constexpr std::size_t shared = sizeof(plain_shared<T, D, Tile>);
      allow_shared(plain_forward<T, D, Tile>, shared, "attention");
      plain_forward<T, D, Tile><<<s.grid(s.queries, Tile, s.heads), 256, shared, on.stream>>>(
          s, q.as<const T>(), k.as<const T>(), v.as<const T>(), segments, factor, out.as<T>(), lse.as<float>());
      launched("attention");
    });
  });
}

void attention_gradient(const execution& ex, view q, view k, view v, view segment_start, double scale, view out, view lse, view dout,
                        view dq, view dk, view dv) {
  queue& on = queue_of(ex);
  const attention_shape s(q, k, v, k.extent[1]);
  if (q.size() == 0) {  // keys without queries have no gradient
    for (const view& none : {dk, dv})
      if (none && none.size() > 0) check(cudaMemsetAsync(none.data, 0, none.bytes(), on.stream), "attention_gradient");
    return;
  }
  const int* segments = segment_start.as<const int>();
  const scratch deltas(on, sizeof(float) * static_cast<std::size_t>(s.batch * s.heads * s.queries));
  float* delta = deltas.as<float>();
  const auto factor = static_cast<float>(scale);
  visit_float("attention_gradient", q.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    delta_kernel<T><<<blocks_for(s.batch * s.heads * s.queries, 8, most_blocks), 256, 0, on.stream>>>(s, out.as<const T>(), dout.as<const T>(), delta);
    launched("attention_gradient");
    const gradient_inputs in{lse.as<const float>(), delta};
    if (wgmma_attention_gradient(on, s, q, k, v, segments, factor, in, dout, dq, dk, dv) ||
        mma_attention_gradient(on, s, q, k, v, segments, factor, in, dout, dq, dk, dv))
      return;
    with_width<plain_gradient_shared, T>(on, s, [&](auto d, auto t) {
      constexpr int D = decltype(d)::value, Tile = decltype(t)::value;
      constexpr std::size_t shared = sizeof(plain_gradient_shared<T, D, Tile>);
      allow_shared(plain_query_gradient<T, D, Tile>, shared, "attention_gradient");
      allow_shared(plain_key_gradient<T, D, Tile>, shared, "attention_gradient");
      if (dq)
        plain_query_gradient<T, D, Tile><<<s.grid(s.queries, Tile, s.heads), 256, shared, on.stream>>>(
            s, q.as<const T>(), k.as<const T>(), v.as<const T>(), segments, factor, lse.as<const float>(), delta,
            dout.as<const T>(), dq.as<T>());
      launched("attention_gradient");
      if (dk || dv)
        plain_key_gradient<T, D, Tile><<<s.grid(s.keys, Tile, s.key_heads), 256, shared, on.stream>>>(
            s, q.as<const T>(), k.as<const T>(), v.as<const T>(), segments, factor, lse.as<const float>(), delta,
            dout.as<const T>(), dk.as<T>(), dv.as<T>());
      launched("attention_gradient");
    });
  });
}

}  // namespace plait::inline v0_1::cuda
