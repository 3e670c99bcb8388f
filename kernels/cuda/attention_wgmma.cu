// Attention in bf16 on Hopper's tensor cores: heads of 64 or 128, and forward of 192 with values of 128 (DeepSeek's). One warp loads tiles by the copy engine, two warpgroups of 64 rows each
// multiply (wgmma, float32 sums). Probabilities are rounded to bf16 before they meet the values, their gradients before they meet queries
// and keys. Gradients take two passes, one a tile of queries, one a tile of keys, so that every sum has one owner and a fixed order.
// After FlashAttention (arXiv 2205.14135, 2407.08608).
#include <cmath>

#include "plait/kernels/cuda/attention.cuh"
#include "plait/kernels/ptx.cuh"
#include "plait/kernels/tensor_map.cuh"
#include "plait/kernels/wgmma.cuh"

namespace plait::inline v0_1::cuda {
namespace {

namespace ptx = kernels::ptx;
namespace wgmma = kernels::wgmma;
using kernels::major;

inline constexpr int tile_rows = 128, threads = 384, math_warps = 8;  // warpgroup 0 loads, 1 and 2 multiply
inline constexpr float log2_e = 1.4426950408889634f;

/// Rows of D elements in shared memory, as boxes of 64 columns by R rows with 128-byte swizzle, one after the other.
template <int R, int D>
struct tile {
  std::uint32_t base;
  static constexpr std::uint32_t box = R * 128, bytes = box * (D / 64);

  /// As an operand whose contraction runs along the columns: 16 steps from column 16 k on, rows from `row` on.
  __device__ __forceinline__ std::uint64_t along_columns(int k, int row = 0) const {
    return descriptor(1, base + k / 4 * box + row * 128 + k % 4 * 32);
  }
  /// As an operand whose contraction runs along the rows: 16 steps from row 16 k on, all columns.
  __device__ __forceinline__ std::uint64_t along_rows(int k) const { return descriptor(box / 16, base + k * 2048); }
  /// Where 8 columns of a row lie.
  __device__ __forceinline__ std::uint32_t chunk(int row, int c) const { return base + c / 8 * box + row * 128 + ((c % 8 ^ (row & 7)) << 4); }

  __device__ __forceinline__ void load(const CUtensorMap& map, std::uint32_t barrier, int column, int row, int batch) const {
#pragma unroll
    for (int i = 0; i < D / 64; ++i) ptx::tensor_load(base + i * box, &map, barrier, column + i * 64, row, batch);
  }

 private:
  __device__ static __forceinline__ std::uint64_t descriptor(std::uint64_t leading, std::uint32_t address) {
    return (std::uint64_t{1} << 62) | (std::uint64_t{1024 / 16} << 32) | (leading << 16) | ((address & 0x3ffffu) >> 4);
  }
};

/// Position in a ring of stages.
template <int Stages>
struct ring {
  int stage = 0;
  std::uint32_t phase = 0;
  __device__ __forceinline__ void next() {
    if (++stage == Stages) stage = 0, phase ^= 1;
  }
};

__device__ __forceinline__ float power_of_2(float x) {
  float y;
  asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));  // volatile: before the wait that follows
  return y;
}
template <class Op>
__device__ __forceinline__ float over_4(float value, Op op) {
  value = op(value, __shfl_xor_sync(~0u, value, 1));
  return op(value, __shfl_xor_sync(~0u, value, 2));
}

/// Sums of this warpgroup's 64 rows by C columns: sum[4 n + 2 half + i] is row lane / 4 + 8 half of the warp's 16, column 8 n + 2 (lane % 4) + i.
template <int C>
using sums = float[C / 2];
/// The same rounded, as the operand A of C / 16 times 16 contraction steps.
template <int C>
using rounded_sums = std::uint32_t[C / 4];

template <int C>
__device__ __forceinline__ void round_sums(const float (&s)[C / 2], std::uint32_t (&to)[C / 4]) {
#pragma unroll
  for (int i = 0; i < C / 4; ++i) to[i] = ptx::pack_bf16(s[2 * i], s[2 * i + 1]);
}

/// s = this warpgroup's 64 rows of `a`, from `row` on, times the rows of `b`.
template <int C, int R, int RB, int D>
__device__ __forceinline__ void multiply_rows(float (&s)[C / 2], tile<R, D> a, int row, tile<RB, D> b) {
#pragma unroll
  for (int k = 0; k < D / 16; ++k)
    wgmma::multiply<C, major::k, major::k>::run(s, a.along_columns(k, row), b.along_columns(k), k);
}
/// o += p m, p in registers with a column for each row of m.
template <int R, int D>
__device__ __forceinline__ void multiply_add(float (&o)[D / 2], const std::uint32_t (&p)[R / 4], tile<R, D> m) {
#pragma unroll
  for (int k = 0; k < R / 16; ++k) wgmma::multiply_registers<D, major::mn>::run(o, p + 4 * k, m.along_rows(k), 1);
}

/// Writes this warpgroup's 64 rows through shared memory that only it still uses, row i of a quad times factor[i].
template <int R, int D>
__device__ __forceinline__ void write_rows(const CUtensorMap& map, tile<R, D> through, int warpgroup, const float (&o)[D / 2],
                                           const float (&factor)[2], int column, index first, index count, int batch) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const int row = warpgroup * 64 + warp * 16 + lane % 16;
#pragma unroll
  for (int n = 0; n < D / 8; n += 2) {
    const float* x = o + 4 * n;
    ptx::store_matrices(through.chunk(row, n + lane / 16), ptx::pack_bf16(x[0] * factor[0], x[1] * factor[0]),
                        ptx::pack_bf16(x[2] * factor[1], x[3] * factor[1]), ptx::pack_bf16(x[4] * factor[0], x[5] * factor[0]),
                        ptx::pack_bf16(x[6] * factor[1], x[7] * factor[1]));
  }
  ptx::fence_async_shared();
  ptx::named_barrier(1 + warpgroup, 128);
  const index at = first + warpgroup * 64;
  if (threadIdx.x % 128 != 0 || at >= count) return;  // a box wholly outside is not stored
#pragma unroll
  for (int i = 0; i < D / 64; ++i)
    ptx::tensor_store(&map, through.base + i * tile<R, D>::box + warpgroup * 8192, column + i * 64, static_cast<int>(at), batch);
  ptx::store_commit();
  ptx::store_wait_all();
}

__device__ __forceinline__ std::uint32_t tiles_begin(const void* memory) { return (ptx::shared_address(memory) + 1023u) & ~1023u; }
inline constexpr std::size_t slack = 1024;  // for the alignment above

struct tensor_maps {
  CUtensorMap q, k, v, dout, out, out2;
};

// --- forward: 128 queries against tiles of 128 keys ------------------------------------------------------------------------------------

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
/// What a row does not see becomes `hidden`.
template <int C>
__device__ __forceinline__ void mask(float (&s)[C / 2], const key_range (&seen)[2], int key, float hidden) {
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int n = 0; n < C / 8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int at = key + n * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + i;
        if (at < seen[half].from || at >= seen[half].to) s[4 * n + 2 * half + i] = hidden;
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
    const bool sees = total[half] > 0.0f;
    inverse[half] = sees ? 1.0f / total[half] : 0.0f;
    const index at = first + row + half * 8;
    if (lse != nullptr && lane % 4 == 0 && at < s.queries)
      lse[(b * s.heads + h) * s.queries + at] = sees ? largest[half] * scale + logf(total[half]) : -INFINITY;
  }
  write_rows(maps.out, value_block{base}, warpgroup, o, inverse, h * V, first, s.queries, b);
}

// --- gradient of the queries: 128 of them against tiles of 128 keys -------------------------------------------------------------------

inline constexpr int query_stages = 2;
template <int D>
inline constexpr std::size_t query_shared = slack + (2 + 2 * query_stages) * tile<tile_rows, D>::bytes;

template <int D>
__global__ void __launch_bounds__(threads, 1)
    query_gradient_kernel(const __grid_constant__ tensor_maps maps, attention_shape s, const int* segments, float scale, gradient_inputs in) {
  using block = tile<tile_rows, D>;
  extern __shared__ uint4 raw[];
  __shared__ key_range range[tile_rows];
  __shared__ std::uint64_t query_full, full[query_stages], empty[query_stages];
  const std::uint32_t base = tiles_begin(raw);
  const block queries{base}, douts{base + block::bytes};
  const auto key_tile = [&](int stage) { return block{base + (2 + 2 * stage) * block::bytes}; };
  const auto value_tile = [&](int stage) { return block{base + (3 + 2 * stage) * block::bytes}; };
  const int h = static_cast<int>(blockIdx.y), b = static_cast<int>(blockIdx.z), hk = h / static_cast<int>(s.group);
  const index first = static_cast<index>(gridDim.x - 1 - blockIdx.x) * tile_rows;
  if (threadIdx.x == 0) {
    ptx::barrier_init(ptx::shared_address(&query_full), 1);
    for (int i = 0; i < query_stages; ++i) {
      ptx::barrier_init(ptx::shared_address(&full[i]), 1);
      ptx::barrier_init(ptx::shared_address(&empty[i]), math_warps);
    }
    ptx::barrier_init_fence();
  }
  const tile_range seen = ranges_of<tile_rows>(s, segments, b, first, range);
  const int begin = seen.low / tile_rows * tile_rows;

  if (threadIdx.x < 128) {
    ptx::registers_shrink<24>();
    if (threadIdx.x != 0) return;
    const std::uint32_t ready = ptx::shared_address(&query_full);
    ptx::barrier_arrive_expect(ready, 2 * block::bytes);
    queries.load(maps.q, ready, h * D, static_cast<int>(first), b);
    douts.load(maps.dout, ready, h * D, static_cast<int>(first), b);
    ring<query_stages> at;
    for (int key = begin; key < seen.high; key += tile_rows, at.next()) {
      ptx::barrier_wait(ptx::shared_address(&empty[at.stage]), at.phase ^ 1);
      const std::uint32_t barrier = ptx::shared_address(&full[at.stage]);
      ptx::barrier_arrive_expect(barrier, 2 * block::bytes);
      key_tile(at.stage).load(maps.k, barrier, hk * D, key, b);
      value_tile(at.stage).load(maps.v, barrier, hk * D, key, b);
    }
    return;
  }
  ptx::registers_grow<240>();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const int warpgroup = static_cast<int>(threadIdx.x) / 128 - 1, row = warpgroup * 64 + warp * 16 + lane / 4;
  const key_range mine[2] = {range[row], range[row + 8]};
  float sum[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const index query = first + row + half * 8, at = (b * s.heads + h) * s.queries + query;
    sum[half] = query < s.queries ? in.lse[at] * log2_e : 0.0f;
    delta[half] = query < s.queries ? in.delta[at] : 0.0f;
  }
  const float factor = scale * log2_e;
  sums<D> o;
#pragma unroll
  for (float& x : o) x = 0;
  ptx::barrier_wait(ptx::shared_address(&query_full), 0);
  rounded_sums<tile_rows> d;
  ring<query_stages> at;
  int previous = -1;
  for (int key = begin; key < seen.high; key += tile_rows) {
    sums<tile_rows> c, e;
    ptx::barrier_wait(ptx::shared_address(&full[at.stage]), at.phase);
    wgmma::fence();
    multiply_rows<tile_rows>(c, queries, warpgroup * 64, key_tile(at.stage));
    wgmma::commit();
    wgmma::wait<1>();  // the product of the tile before: its registers are needed
    if (previous >= 0 && lane == 0) ptx::barrier_arrive(ptx::shared_address(&empty[previous]));
    wgmma::fence();
    multiply_rows<tile_rows>(e, douts, warpgroup * 64, value_tile(at.stage));
    wgmma::commit();
    wgmma::wait<1>();
#pragma unroll
    for (int i = 0; i < tile_rows / 2; ++i) c[i] = power_of_2(c[i] * factor - sum[i / 2 % 2]);
    if (key < seen.full_low || key + tile_rows > seen.full_high) mask<tile_rows>(c, mine, key, 0.0f);
    wgmma::wait<0>();
#pragma unroll
    for (int i = 0; i < tile_rows / 2; ++i) c[i] *= e[i] - delta[i / 2 % 2];
    round_sums<tile_rows>(c, d);
    wgmma::fence();
    multiply_add<tile_rows, D>(o, d, key_tile(at.stage));
    wgmma::commit();
    previous = at.stage;
    at.next();
  }
  wgmma::wait<0>();
  const float by[2] = {scale, scale};
  write_rows(maps.out, queries, warpgroup, o, by, h * D, first, s.queries, b);
}

// --- gradients of keys and values: 128 of them against tiles of 64 queries, of all heads that use them ----------------------------------

inline constexpr int inner_rows = 64, key_stages = 4;
template <int D>
inline constexpr std::size_t key_shared = slack + 2 * tile<tile_rows, D>::bytes + 2 * key_stages * tile<inner_rows, D>::bytes;

/// What goes with a tile of queries.
struct query_notes {
  float lse[inner_rows], delta[inner_rows];
  key_range range[inner_rows];
  int whole, last;  // every query sees every key of the block; no tile: the end
};

template <int D>
__global__ void __launch_bounds__(threads, 1)
    key_gradient_kernel(const __grid_constant__ tensor_maps maps, attention_shape s, const int* segments, float scale, gradient_inputs in,
                        bool write_keys, bool write_values) {
  using block = tile<tile_rows, D>;
  using inner = tile<inner_rows, D>;
  extern __shared__ uint4 raw[];
  __shared__ query_notes notes[key_stages];
  __shared__ std::uint64_t key_full, full[key_stages], empty[key_stages];
  const std::uint32_t base = tiles_begin(raw);
  const block keys{base}, values{base + block::bytes};
  const auto query_tile = [&](int stage) { return inner{base + 2 * block::bytes + 2 * stage * inner::bytes}; };
  const auto dout_tile = [&](int stage) { return inner{base + 2 * block::bytes + (2 * stage + 1) * inner::bytes}; };
  const int hk = static_cast<int>(blockIdx.x % s.key_heads), b = static_cast<int>(blockIdx.x / s.key_heads);
  const int key = static_cast<int>(blockIdx.y) * tile_rows;  // the first keys, which most queries see, come first
  if (threadIdx.x == 0) {
    ptx::barrier_init(ptx::shared_address(&key_full), 1);
    for (int i = 0; i < key_stages; ++i) {
      ptx::barrier_init(ptx::shared_address(&full[i]), 32);
      ptx::barrier_init(ptx::shared_address(&empty[i]), math_warps);
    }
    ptx::barrier_init_fence();
  }
  __syncthreads();

  if (threadIdx.x < 128) {
    ptx::registers_shrink<40>();
    if (threadIdx.x >= 32) return;
    const int lane = static_cast<int>(threadIdx.x);
    if (lane == 0) {
      const std::uint32_t ready = ptx::shared_address(&key_full);
      ptx::barrier_arrive_expect(ready, 2 * block::bytes);
      keys.load(maps.k, ready, hk * D, key, b);
      values.load(maps.v, ready, hk * D, key, b);
    }
    // Query i stands at key i + keys - queries: earlier ones see none of these keys.
    index start = key - (s.keys - s.queries);
    start = start < 0 ? 0 : start / inner_rows * inner_rows;
    ring<key_stages> at;
    for (index first = start; first < s.queries; first += inner_rows) {
      key_range mine[2];
      int low = 0x7fffffff, high = 0, full_low = 0, full_high = 0x7fffffff;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const index query = first + i * 32 + lane;
        mine[i] = range_of(s, segments, b, query);
        if (query < s.queries) full_low = max(full_low, mine[i].from), full_high = min(full_high, mine[i].to);
        if (mine[i].from < mine[i].to) low = min(low, mine[i].from), high = max(high, mine[i].to);
      }
      low = __reduce_min_sync(~0u, low), high = __reduce_max_sync(~0u, high);
      full_low = __reduce_max_sync(~0u, full_low), full_high = __reduce_min_sync(~0u, full_high);
      if (low >= key + tile_rows || high <= key) continue;
      const bool whole = key >= full_low && key + tile_rows <= full_high;
      for (index h = hk * s.group; h < (hk + 1) * s.group; ++h, at.next()) {
        float sum[2], delta[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const index query = first + i * 32 + lane, from = (b * s.heads + h) * s.queries + query;
          sum[i] = query < s.queries ? in.lse[from] * log2_e : 0.0f;
          delta[i] = query < s.queries ? in.delta[from] : 0.0f;
        }
        ptx::barrier_wait(ptx::shared_address(&empty[at.stage]), at.phase ^ 1);
        query_notes& to = notes[at.stage];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          to.lse[i * 32 + lane] = sum[i];
          to.delta[i * 32 + lane] = delta[i];
          to.range[i * 32 + lane] = mine[i];
        }
        const std::uint32_t barrier = ptx::shared_address(&full[at.stage]);
        if (lane == 0) {
          to.whole = whole, to.last = 0;
          ptx::barrier_arrive_expect(barrier, 2 * inner::bytes);
          query_tile(at.stage).load(maps.q, barrier, static_cast<int>(h) * D, static_cast<int>(first), b);
          dout_tile(at.stage).load(maps.dout, barrier, static_cast<int>(h) * D, static_cast<int>(first), b);
        } else {
          ptx::barrier_arrive(barrier);
        }
      }
    }
    ptx::barrier_wait(ptx::shared_address(&empty[at.stage]), at.phase ^ 1);
    if (lane == 0) notes[at.stage].last = 1;
    ptx::barrier_arrive(ptx::shared_address(&full[at.stage]));
    return;
  }
  ptx::registers_grow<232>();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const int warpgroup = static_cast<int>(threadIdx.x) / 128 - 1;
  const int mine = key + warpgroup * 64 + warp * 16 + lane / 4;  // this thread's keys: this one and the eighth after it
  const float factor = scale * log2_e;
  sums<D> gk, gv;
#pragma unroll
  for (int i = 0; i < D / 2; ++i) gk[i] = gv[i] = 0;
  rounded_sums<inner_rows> p, d;
  ring<key_stages> at;
  int previous = -1;
  ptx::barrier_wait(ptx::shared_address(&key_full), 0);
  while (true) {
    ptx::barrier_wait(ptx::shared_address(&full[at.stage]), at.phase);
    const query_notes& note = notes[at.stage];
    if (note.last != 0) break;
    sums<inner_rows> c, e;
    wgmma::fence();
    multiply_rows<inner_rows>(c, keys, warpgroup * 64, query_tile(at.stage));
    wgmma::commit();
    wgmma::wait<1>();  // the products of the tile before: their registers are needed
    if (previous >= 0 && lane == 0) ptx::barrier_arrive(ptx::shared_address(&empty[previous]));
    wgmma::fence();
    multiply_rows<inner_rows>(e, values, warpgroup * 64, dout_tile(at.stage));
    wgmma::commit();
    wgmma::wait<1>();
#pragma unroll
    for (int n = 0; n < inner_rows / 8; ++n) {
      const float2 sum = *reinterpret_cast<const float2*>(&note.lse[n * 8 + lane % 4 * 2]);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        c[4 * n + 2 * half] = power_of_2(c[4 * n + 2 * half] * factor - sum.x);
        c[4 * n + 2 * half + 1] = power_of_2(c[4 * n + 2 * half + 1] * factor - sum.y);
      }
    }
    if (note.whole == 0) {
#pragma unroll
      for (int n = 0; n < inner_rows / 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const key_range r = note.range[n * 8 + lane % 4 * 2 + i];
          if (mine < r.from || mine >= r.to) c[4 * n + i] = 0;
          if (mine + 8 < r.from || mine + 8 >= r.to) c[4 * n + 2 + i] = 0;
        }
    }
    wgmma::wait<0>();
    round_sums<inner_rows>(c, p);
#pragma unroll
    for (int n = 0; n < inner_rows / 8; ++n) {
      const float2 delta = *reinterpret_cast<const float2*>(&note.delta[n * 8 + lane % 4 * 2]);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        c[4 * n + 2 * half] *= e[4 * n + 2 * half] - delta.x;
        c[4 * n + 2 * half + 1] *= e[4 * n + 2 * half + 1] - delta.y;
      }
    }
    round_sums<inner_rows>(c, d);
    wgmma::fence();
    multiply_add<inner_rows, D>(gv, p, dout_tile(at.stage));
    multiply_add<inner_rows, D>(gk, d, query_tile(at.stage));
    wgmma::commit();
    previous = at.stage;
    at.next();
  }
  wgmma::wait<0>();
  const float one[2] = {1.0f, 1.0f}, by[2] = {scale, scale};
  if (write_keys) write_rows(maps.out, keys, warpgroup, gk, by, hk * D, key, s.keys, b);
  if (write_values) write_rows(maps.out2, values, warpgroup, gv, one, hk * D, key, s.keys, b);
}

// --- launches --------------------------------------------------------------------------------------------------------------------------

bool fits(const queue& on, const attention_shape& s, float scale, std::initializer_list<view> all) {
  if (on.capability != 90 || s.queries < 32) return false;
  if (!(scale > 0) || s.keys > 0x7fffff00 || s.queries > 0x7fffff00) return false;
  for (const view& x : all)
    if (x && (x.type != dtype::bf16 || !aligned16(x.as<char>()))) return false;
  return kernels::tensor_map_encoder() != nullptr;
}
/// x [B, S, heads, width] in boxes of 64 columns by `rows` positions.
CUtensorMap map_of(const view& x, int rows) {
  CUtensorMap map{};
  const auto extent = [&](int d) { return static_cast<std::uint64_t>(x.extent[d]); };
  if (x && !kernels::encode_tensor_map(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, x.data, {extent(2) * extent(3), extent(1), extent(0)}, 64,
                                       static_cast<std::uint32_t>(rows)))
    throw std::runtime_error("plait: CUDA: attention: a tensor map was refused");
  return map;
}
template <class F>
bool with_width(const attention_shape& s, F&& body) {
  if (s.value_width != s.width || (s.width != 64 && s.width != 128)) return false;
  if (s.width == 64) body(std::integral_constant<int, 64>{});
  else body(std::integral_constant<int, 128>{});
  return true;
}

}  // namespace

bool wgmma_attention(queue& on, const attention_shape& s, const view& q, const view& k, const view& v, const int* segments, float scale,
                     const view& out, float* lse) {
  if (!fits(on, s, scale, {q, k, v, out})) return false;
  const auto run = [&](auto d, auto w) {
    constexpr int D = decltype(d)::value, V = decltype(w)::value;
    const tensor_maps maps{map_of(q, tile_rows), map_of(k, tile_rows), map_of(v, tile_rows), {}, map_of(out, 64), {}};
    allow_shared(forward_kernel<D, V>, forward_shared<D, V>, "attention");
    forward_kernel<D, V><<<s.grid(s.queries, tile_rows, s.heads), threads, forward_shared<D, V>, on.stream>>>(maps, s, segments, scale, lse);
    launched("attention");
  };
  if (with_width(s, [&](auto d) { run(d, d); })) return true;
  if (s.width != 192 || s.value_width != 128) return false;
  run(std::integral_constant<int, 192>{}, std::integral_constant<int, 128>{});
  return true;
}

bool wgmma_attention_gradient(queue& on, const attention_shape& s, const view& q, const view& k, const view& v, const int* segments,
                              float scale, const gradient_inputs& in, const view& dout, const view& dq, const view& dk, const view& dv) {
  if (!fits(on, s, scale, {q, k, v, dout, dq, dk, dv})) return false;
  return with_width(s, [&](auto d) {
    constexpr int D = decltype(d)::value;
    if (dq) {
      const tensor_maps maps{map_of(q, tile_rows), map_of(k, tile_rows), map_of(v, tile_rows), map_of(dout, tile_rows), map_of(dq, 64), {}};
      allow_shared(query_gradient_kernel<D>, query_shared<D>, "attention_gradient");
      query_gradient_kernel<D><<<s.grid(s.queries, tile_rows, s.heads), threads, query_shared<D>, on.stream>>>(maps, s, segments, scale, in);
      launched("attention_gradient");
    }
    if (dk || dv) {
      const tensor_maps maps{map_of(q, inner_rows), map_of(k, tile_rows), map_of(v, tile_rows), map_of(dout, inner_rows), map_of(dk, 64), map_of(dv, 64)};
      allow_shared(key_gradient_kernel<D>, key_shared<D>, "attention_gradient");
      const dim3 grid(static_cast<unsigned>(s.key_heads * s.batch), blocks_for(s.keys, tile_rows, 65535));
      key_gradient_kernel<D><<<grid, threads, key_shared<D>, on.stream>>>(maps, s, segments, scale, in, bool(dk), bool(dv));
      launched("attention_gradient");
    }
  });
}

}  // namespace plait::inline v0_1::cuda
