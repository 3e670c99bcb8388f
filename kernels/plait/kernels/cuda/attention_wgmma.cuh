#pragma once
// What the attention kernels on Hopper's tensor cores share: tiles in shared memory and products of them. One warp loads tiles by the copy
// engine, two warpgroups of 64 rows each multiply (wgmma, float32 sums).
#include <cmath>

#include "plait/kernels/cuda/attention.cuh"
#include "plait/kernels/ptx.cuh"
#include "plait/kernels/tensor_map.cuh"
#include "plait/kernels/wgmma.cuh"

namespace plait::inline v0_1::cuda::on_hopper {

namespace ptx = kernels::ptx;
namespace wgmma = kernels::wgmma;
using kernels::major;

inline constexpr int tile_rows = 128, threads = 384, math_warps = 8;  // warpgroup 0 loads, 1 and 2 multiply

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

// launches

inline bool fits(const queue& on, const attention_shape& s, float scale, std::initializer_list<view> all) {
  if (on.capability != 90 || s.queries < 32) return false;
  if (!(scale > 0) || s.keys > 0x7fffff00 || s.queries > 0x7fffff00) return false;
  for (const view& x : all)
    if (x && (x.type != dtype::bf16 || !aligned16(x.as<char>()))) return false;
  return kernels::tensor_map_encoder() != nullptr;
}
/// x [B, S, heads, width] in boxes of 64 columns by `rows` positions; of its S positions only the first `present`.
inline CUtensorMap map_of(const view& x, int rows, index present) {
  CUtensorMap map{};
  const auto extent = [&](int d) { return static_cast<std::uint64_t>(x.extent[d]); };
  if (x && !kernels::encode_tensor_map(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, x.data, {extent(2) * extent(3), static_cast<std::uint64_t>(present), extent(0), extent(1)}, 64,
                                       static_cast<std::uint32_t>(rows)))
    throw std::runtime_error("plait: CUDA: attention: a tensor map was refused");
  return map;
}
inline CUtensorMap map_of(const view& x, int rows) { return map_of(x, rows, x ? x.extent[1] : 0); }
/// Calls body with the widths of queries and of values, where there is a kernel for them.
template <class F>
bool with_widths(const attention_shape& s, F&& body) {
  const auto call = [&]<int D, int V>() {
    if (s.width != D || s.value_width != V) return false;
    body.template operator()<D, V>();
    return true;
  };
  return call.template operator()<64, 64>() || call.template operator()<128, 128>() || call.template operator()<192, 128>();
}

}  // namespace plait::inline v0_1::cuda::on_hopper
