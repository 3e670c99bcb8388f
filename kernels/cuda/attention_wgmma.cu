// Attention in bf16 on Hopper: heads of 64 or 128, and of 192 with values of 128 (DeepSeek's). 128 queries against tiles of 128 keys;
// probabilities are rounded to bf16 before they meet the values. After FlashAttention (arXiv 2205.14135, 2407.08608).
#include "plait/kernels/cuda/attention_wgmma.cuh"

namespace plait::inline v0_1::cuda {
namespace on_hopper {
namespace {

/// Online softmax over a tile's scores, which become probabilities; `shrink`: what earlier sums are multiplied by.
template <int C>
__device__ __forceinline__ void soften(float (&s)[C / 2], float (&largest)[2], float (&total)[2], float (&shrink)[2], float factor) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float best = largest[half];
#pragma unroll
    for (int n = 0; n < C / 8; ++n) best = fmaxf(best, fmaxf(s[4 * n + 2 * half], s[4 * n + 2 * half + 1]));
    best = over_4(best, larger{});
    const float shift = best == -INFINITY ? 0.0f : best * factor;
    shrink[half] = power_of_2(largest[half] * factor - shift);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < C / 8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& x = s[4 * n + 2 * half + i];
        x = power_of_2(x * factor - shift);
        sum += x;
      }
    total[half] = total[half] * shrink[half] + sum;
    largest[half] = best;
  }
}
inline constexpr int forward_stages = 2;
template <int D, int V>
inline constexpr std::size_t forward_shared = slack + (1 + forward_stages) * tile<tile_rows, D>::bytes + forward_stages * tile<tile_rows, V>::bytes;

/// D: width of queries and keys, V: of values.
template <int D, int V>
__global__ void __launch_bounds__(threads, 1)
    forward_kernel(const __grid_constant__ tensor_maps maps, attention_shape s, const int* segments, float scale, float* lse) {
  using block = tile<tile_rows, D>;
  using value_block = tile<tile_rows, V>;
  extern __shared__ uint4 raw[];
  __shared__ key_range range[tile_rows];
  __shared__ std::uint64_t query_full, key_full[forward_stages], key_empty[forward_stages], value_full[forward_stages],
      value_empty[forward_stages];
  const std::uint32_t base = tiles_begin(raw);
  const block queries{base};
  const auto key_tile = [&](int stage) { return block{base + block::bytes + stage * (block::bytes + value_block::bytes)}; };
  const auto value_tile = [&](int stage) { return value_block{key_tile(stage).base + block::bytes}; };
  const int h = static_cast<int>(blockIdx.y), b = static_cast<int>(blockIdx.z), hk = h / static_cast<int>(s.group);
  const index first = static_cast<index>(gridDim.x - 1 - blockIdx.x) * tile_rows;  // the longest first
  if (threadIdx.x == 0) {
    ptx::barrier_init(ptx::shared_address(&query_full), 1);
    for (int i = 0; i < forward_stages; ++i) {
      ptx::barrier_init(ptx::shared_address(&key_full[i]), 1);
      ptx::barrier_init(ptx::shared_address(&value_full[i]), 1);
      ptx::barrier_init(ptx::shared_address(&key_empty[i]), math_warps);
      ptx::barrier_init(ptx::shared_address(&value_empty[i]), math_warps);
    }
    ptx::barrier_init_fence();
  }
  const tile_range seen = ranges_of<tile_rows>(s, segments, b, first, range);  // synchronises
  const int begin = seen.low / tile_rows * tile_rows;

  if (threadIdx.x < 128) {
    ptx::registers_shrink<24>();
    if (threadIdx.x != 0) return;
    const std::uint32_t ready = ptx::shared_address(&query_full);
    ptx::barrier_arrive_expect(ready, block::bytes);
    queries.load(maps.q, ready, h * D, static_cast<int>(first), b);
    ring<forward_stages> at;
    for (int key = begin; key < seen.high; key += tile_rows, at.next()) {
      const auto fetch = [&](std::uint64_t* empty, std::uint64_t* full, auto to, const CUtensorMap& map, int column) {
        ptx::barrier_wait(ptx::shared_address(&empty[at.stage]), at.phase ^ 1);
        const std::uint32_t barrier = ptx::shared_address(&full[at.stage]);
        ptx::barrier_arrive_expect(barrier, to.bytes);
        to.load(map, barrier, column, key, b);
      };
      fetch(key_empty, key_full, key_tile(at.stage), maps.k, hk * D);
      fetch(value_empty, value_full, value_tile(at.stage), maps.v, hk * V);
    }
    return;
  }
  ptx::registers_grow<240>();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const int warpgroup = static_cast<int>(threadIdx.x) / 128 - 1, row = warpgroup * 64 + warp * 16 + lane / 4;
  const auto release = [&](std::uint64_t* empty, int stage) {
    if (lane == 0) ptx::barrier_arrive(ptx::shared_address(&empty[stage]));
  };
  const key_range mine[2] = {range[row], range[row + 8]};
  const float factor = scale * log2_e;
  float largest[2] = {-INFINITY, -INFINITY}, total[2] = {}, shrink[2];
  sums<V> o;
#pragma unroll
  for (float& x : o) x = 0;
  if (begin < seen.high) {
    sums<tile_rows> c;
    rounded_sums<tile_rows> p;
    ring<forward_stages> keys, values;
    const auto scores = [&] {
      ptx::barrier_wait(ptx::shared_address(&key_full[keys.stage]), keys.phase);
      wgmma::fence();
      multiply_rows<tile_rows>(c, queries, warpgroup * 64, key_tile(keys.stage));
      wgmma::commit();
    };
    const auto weigh = [&] {
      ptx::barrier_wait(ptx::shared_address(&value_full[values.stage]), values.phase);
      wgmma::fence();
      multiply_add<tile_rows, V>(o, p, value_tile(values.stage));
      wgmma::commit();
    };
    const auto finish_scores = [&](int key) {
      release(key_empty, keys.stage);
      keys.next();
      if (key < seen.full_low || key + tile_rows > seen.full_high) mask<tile_rows>(c, mine, key, -INFINITY);
      soften<tile_rows>(c, largest, total, shrink, factor);
    };
    ptx::barrier_wait(ptx::shared_address(&query_full), 0);
    scores();
    wgmma::wait<0>();
    finish_scores(begin);
    round_sums<tile_rows>(c, p);
    // The warpgroups take turns: one multiplies while the other computes its softmax.
    if (warpgroup == 1) ptx::named_barrier_arrive(3, 256);
    for (int key = begin + tile_rows; key < seen.high; key += tile_rows) {
      ptx::named_barrier(3 + warpgroup, 256);
      scores();
      weigh();  // the tile before
      ptx::named_barrier_arrive(4 - warpgroup, 256);
      wgmma::wait<1>();
      finish_scores(key);
      wgmma::wait<0>();
      release(value_empty, values.stage);
      values.next();
#pragma unroll
      for (int n = 0; n < V / 8; ++n) {
        o[4 * n] *= shrink[0], o[4 * n + 1] *= shrink[0];
        o[4 * n + 2] *= shrink[1], o[4 * n + 3] *= shrink[1];
      }
      round_sums<tile_rows>(c, p);
    }
    if (warpgroup == 0) ptx::named_barrier(3, 256);
    weigh();
    wgmma::wait<0>();
  } else {
    ptx::barrier_wait(ptx::shared_address(&query_full), 0);  // its memory is written below
  }
  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    total[half] = over_4(total[half], plus{});
    const bool sees = total[half] != 0.0f;  // a NaN stays one
    inverse[half] = sees ? 1.0f / total[half] : 0.0f;
    const index at = first + row + half * 8;
    if (lse != nullptr && lane % 4 == 0 && at < s.queries)
      lse[(b * s.heads + h) * s.queries + at] = sees ? largest[half] * scale + logf(total[half]) : -INFINITY;
  }
  write_rows(maps.out, value_block{base}, warpgroup, o, inverse, h * V, first, s.queries, b);
}

}  // namespace
}  // namespace on_hopper

bool wgmma_attention(queue& on, const attention_shape& s, const view& q, const view& k, const view& v, const int* segments, float scale,
                     const view& out, float* lse) {
  using namespace on_hopper;
  if (!fits(on, s, scale, {q, k, v, out})) return false;
  return with_widths(s, [&]<int D, int V>() {
    const tensor_maps maps{map_of(q, tile_rows), map_of(k, tile_rows, s.keys), map_of(v, tile_rows, s.keys), {}, map_of(out, 64), {}};
    allow_shared(forward_kernel<D, V>, forward_shared<D, V>, "attention");
    forward_kernel<D, V><<<s.grid(s.queries, tile_rows, s.heads), threads, forward_shared<D, V>, on.stream>>>(maps, s, segments, scale, lse);
    launched("attention");
  });
}

}  // namespace plait::inline v0_1::cuda
