#pragma once
// The same products for every device from compute capability 8.0 on: mma.sync, ldmatrix, cp.async. 128 x 128 tiles, 32 contraction steps a
// stage, three stages, work dealt in turn. Correct first: no tuning beyond that.
#include <cstdint>

#include <cuda_runtime_api.h>

#include "plait/kernels/grouped_gemm/arguments.hpp"
#include "plait/kernels/per_device.hpp"
#include "plait/kernels/ptx.cuh"
#include "plait/kernels/wgmma.cuh"

namespace plait::inline v0_1::kernels::grouped_gemm::portable {

inline constexpr int tile = 128;   // rows and columns
inline constexpr int depth = 32;   // a stage's contraction steps
inline constexpr int stages = 3;
inline constexpr int threads = 256;  // 2 x 4 warps of 64 x 32

// An operand's stage: its tile's rows by the contraction (k major), or the contraction by its tile's rows; padded against bank conflicts.
template <major Major>
inline constexpr int pitch = Major == major::k ? depth * 2 + 16 : tile * 2 + 16;  // bytes
template <major Major>
inline constexpr int stage_bytes = pitch<Major> * (Major == major::k ? tile : depth);

// One operand of one tile, from its first element on.
struct operand {
  const std::uint16_t* data;
  std::int64_t stride;  // elements from one memory row to the next
  int extent;           // rows of the tile that exist
  int contraction;      // contraction steps that exist
};

// What does not exist becomes zero.
template <major Major>
__device__ __forceinline__ void load_stage(const operand& from, std::uint32_t to, int first) {
#pragma unroll
  for (int piece = static_cast<int>(threadIdx.x); piece < tile * depth / 8; piece += threads) {
    const int line = Major == major::k ? piece / (depth / 8) : piece / (tile / 8);
    const int across = (Major == major::k ? piece % (depth / 8) : piece % (tile / 8)) * 8;
    const int row = Major == major::k ? line : across;
    const int step = first + (Major == major::k ? across : line);
    const bool valid = row < from.extent && step < from.contraction;
    const auto at = Major == major::k ? line * from.stride + step : step * from.stride + across;
    ptx::copy_16(to + static_cast<std::uint32_t>(line * pitch<Major> + across * 2), from.data + (valid ? at : 0), valid);
  }
}

// 16 rows by 16 contraction steps; `rows_first`: the second matrix holds the next 8 rows (A), otherwise the next 8 steps (B).
template <major Major>
__device__ __forceinline__ void load_fragment(std::uint32_t (&m)[4], std::uint32_t stage, int row, int step, bool rows_first) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int near = (lane >> 3) & 1;
  const int far = lane >> 4;
  row += (rows_first ? near : far) * 8;
  step += (rows_first ? far : near) * 8;
  if constexpr (Major == major::k) {
    ptx::load_matrices(m, stage + static_cast<std::uint32_t>((row + (lane & 7)) * pitch<Major> + step * 2));
  } else {
    ptx::load_matrices<true>(m, stage + static_cast<std::uint32_t>((step + (lane & 7)) * pitch<Major> + row * 2));
  }
}

template <major A, major B>
__device__ __forceinline__ void multiply_tile(float (&sum)[4][4][4], const operand& a, const operand& b, std::uint32_t memory) {
  constexpr std::uint32_t bytes = stage_bytes<A> + stage_bytes<B>;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int blocks = (a.contraction + depth - 1) / depth;
  const auto load = [&](int block) {
    if (block < blocks) {
      const std::uint32_t to = memory + static_cast<std::uint32_t>(block % stages) * bytes;
      load_stage<A>(a, to, block * depth);
      load_stage<B>(b, to + stage_bytes<A>, block * depth);
    }
    ptx::end_copies();
  };
  load(0);
  load(1);
  for (int block = 0; block < blocks; ++block) {
    ptx::await_copies<1>();
    __syncthreads();
    load(block + 2);
    const std::uint32_t stage = memory + static_cast<std::uint32_t>(block % stages) * bytes;
#pragma unroll
    for (int step = 0; step < depth; step += 16) {
      std::uint32_t left[4][4];
      std::uint32_t right[2][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) load_fragment<A>(left[i], stage, warp / 4 * 64 + i * 16, step, true);
#pragma unroll
      for (int j = 0; j < 2; ++j) load_fragment<B>(right[j], stage + stage_bytes<A>, warp % 4 * 32 + j * 16, step, false);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) ptx::multiply_add(sum[i][j], left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
  ptx::await_copies<0>();
  __syncthreads();
}

// Ragged rows: D bf16 [rows, columns] = A [rows, contraction] B; ragged depth: D f32 [experts, rows, columns] = or += A B over the
// expert's rows of both.
template <major A, major B>
__global__ void __launch_bounds__(threads, 1) run(const arguments p) {
  constexpr bool ragged_depth = A == major::mn;
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ int table[expert_layout::max_experts + 1];
  const int column_tiles = (p.columns + tile - 1) / tile;
  const int row_tiles = (p.rows + tile - 1) / tile;
  if (threadIdx.x == 0) {
    table[0] = 0;
    for (int expert = 0; expert < p.layout.experts; ++expert)
      table[expert + 1] = table[expert] + (ragged_depth ? row_tiles : (p.layout.rows(expert) + tile - 1) / tile) * column_tiles;
  }
  __syncthreads();
  int expert = 0;
  for (int item = static_cast<int>(blockIdx.x); item < table[p.layout.experts]; item += static_cast<int>(gridDim.x)) {
    while (item >= table[expert + 1]) ++expert;
    const int row = (item - table[expert]) / column_tiles * tile;
    const int column = (item - table[expert]) % column_tiles * tile;
    const std::int64_t begin = p.layout.begin(expert);
    const int rows = p.layout.rows(expert);
    const auto* a = static_cast<const std::uint16_t*>(p.a);
    const auto* b = static_cast<const std::uint16_t*>(p.b);
    const int height = (ragged_depth ? p.rows : rows) - row;
    float sum[4][4][4] = {};
    if constexpr (ragged_depth) {
      if (p.accumulate && rows <= 0) continue;
      multiply_tile<A, B>(sum, {a + begin * p.rows + row, p.rows, height, rows},
                          {b + begin * p.columns + column, p.columns, p.columns - column, rows}, ptx::shared_address(memory));
    } else {
      const auto* weight = b + static_cast<std::int64_t>(expert) * p.columns * p.depth;
      const std::int64_t stride = B == major::k ? p.depth : p.columns;
      const operand right{weight + column * (B == major::k ? stride : 1), stride, p.columns - column, p.depth};
      multiply_tile<A, B>(sum, {a + (begin + row) * p.depth, p.depth, height, p.depth}, right, ptx::shared_address(memory));
    }
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int r = warp / 4 * 64 + i * 16 + half * 8 + lane / 4;
          const int c = column + warp % 4 * 32 + j * 8 + lane % 4 * 2;
          if (r >= height || c >= p.columns) continue;
          const float x = sum[i][j][half * 2];
          const float y = sum[i][j][half * 2 + 1];
          if constexpr (ragged_depth) {
            auto* to = reinterpret_cast<float2*>(static_cast<float*>(p.d) +
                                                 (static_cast<std::int64_t>(expert) * p.rows + row + r) * p.columns + c);
            const float2 old = p.accumulate ? *to : float2{0, 0};
            *to = {old.x + x, old.y + y};
          } else {
            auto* to = static_cast<std::uint16_t*>(p.d) + (begin + row + r) * p.columns + c;
            *reinterpret_cast<std::uint32_t*>(to) = ptx::pack_bf16(x, y);
          }
        }
      }
    }
  }
}

template <major A, major B>
const char* launch(const arguments& call) {
  constexpr int bytes = stages * (stage_bytes<A> + stage_bytes<B>);
  const cudaError_t prepared = once_a_device([] { return cudaFuncSetAttribute(run<A, B>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes); });
  if (prepared != cudaSuccess) return cudaGetErrorString(prepared);
  arguments copy = call;
  void* parameters[] = {&copy};
  const cudaError_t error = cudaLaunchKernel(reinterpret_cast<const void*>(run<A, B>), dim3(static_cast<unsigned>(call.multiprocessors)),
                                             dim3(threads), parameters, bytes, call.stream);
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace plait::inline v0_1::kernels::grouped_gemm::portable
