#pragma once
// Accumulators to D, through swizzled shared memory and the copy engine, 128 bytes of columns at a time. Stores are waited for only
// when their buffer is needed again, so the next tile's products run while they drain.
#include <cuda.h>

#include "plait/kernels/grouped_gemm/config.cuh"
#include "plait/kernels/grouped_gemm/problem.cuh"
#include "plait/kernels/ptx.cuh"

namespace plait::inline v0_1::kernels::grouped_gemm {

// A math warpgroup's staging buffers, used in turn.
template <class Config>
struct store_ring {
  std::uint32_t base;
  int next = 0;
  // The buffer to fill; on return no store still reads it.
  __device__ __forceinline__ std::uint32_t acquire(int warpgroup, bool issuer) {
    if (issuer) ptx::store_wait_read<Config::store_boxes - 1>();
    ptx::named_barrier(1 + warpgroup, 128);
    const std::uint32_t buffer = base + next * Config::box_bytes;
    next = (next + 1) % Config::store_boxes;
    return buffer;
  }
};

// 64 x 64 of bf16. Rows past `rows` belong to the next expert: a partial slab is copied by the threads instead.
template <class Config>
__device__ __forceinline__ void store_bf16(const problem& p, const float (&sum)[Config::accumulators], store_ring<Config>& ring,
                                           int row, int rows, int column, int warpgroup, int thread) {
  const int warp = thread / 32;
  const int lane = thread % 32;
  const bool issuer = thread == 0;
  const std::uint32_t row_offset = static_cast<std::uint32_t>((warp * 16 + (lane & 15)) * 128);
#pragma unroll
  for (int chunk = 0; chunk < Config::columns / 64; ++chunk) {
    if (column + chunk * 64 < p.columns) {
      const std::uint32_t buffer = ring.acquire(warpgroup, issuer);
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        const float* v = sum + (chunk * 8 + pair * 2) * 4;
        const std::uint32_t piece = static_cast<std::uint32_t>((pair * 2 + (lane >> 4)) ^ (lane & 7));
        ptx::store_matrices(buffer + row_offset + piece * 16, ptx::pack_bf16(v[0], v[1]), ptx::pack_bf16(v[2], v[3]),
                            ptx::pack_bf16(v[4], v[5]), ptx::pack_bf16(v[6], v[7]));
      }
      ptx::fence_async_shared();
      ptx::named_barrier(1 + warpgroup, 128);
      if (rows >= 64) {
        if (issuer) ptx::tensor_store(&p.d, buffer, column + chunk * 64, row, 0);
      } else {
        for (int index = thread; index < rows * 8; index += 128) {
          const int r = index / 8;
          const int c = index % 8;
          if (column + chunk * 64 + c * 8 < p.columns) {
            auto* to = static_cast<std::uint16_t*>(p.d_pointer) + static_cast<std::size_t>(row + r) * p.columns + column +
                       chunk * 64 + c * 8;
            *reinterpret_cast<uint4*>(to) = ptx::load_shared16(buffer + r * 128 + ((c ^ (r & 7)) * 16));
          }
        }
      }
      if (issuer) ptx::store_commit();  // an empty group after a copied slab keeps the count of buffers right
    }
  }
}

// f32 tiles, in chunks of 64 rows x 32 columns. The tensor map clips at the expert's last row; chunks wholly outside D are left out.
// Accumulating, an element is touched by one tile only, so that either way gives the same bits in every run:
//  f32_update: old values come through the staging buffers, several chunks ahead, and are added in registers: as fast as memory.
//  f32_add:    the copy engine adds in L2. Nothing to wait for and one buffer will do, which leaves room for another stage; but L2
//              adds at two thirds of the rate of memory. For tiles with much to multiply.
template <class Config>
struct store_f32 {
  const problem& p;
  std::uint32_t base;      // this warpgroup's staging buffers
  std::uint32_t barriers;  // and their barriers
  int warpgroup;
  int thread;
  std::uint32_t phases = 0;  // a bit a buffer
  int row = 0, column = 0, expert = 0;
  int chunks = 0;

  static constexpr int buffers = Config::store_boxes;
  static constexpr int across = Config::columns / 32;  // chunks a slab
  static constexpr bool can_update = Config::out == output::f32_update;

  __device__ __forceinline__ void load(int chunk) {
    if (column + chunk % across * 32 >= p.columns) return;
    const int buffer = chunk % buffers;
    ptx::barrier_arrive_expect(barriers + buffer * 8, Config::box_bytes);
    ptx::tensor_load(base + buffer * Config::box_bytes, &p.d, barriers + buffer * 8, column + chunk % across * 32,
                     row + chunk / across * 64, expert);
  }

  // Before the products: the first old values start on their way.
  __device__ __forceinline__ void begin(int row_, int rows, int column_, int expert_) {
    row = row_;
    column = column_;
    expert = expert_;
    chunks = rows > 64 ? 2 * across : across;
    if (thread == 0) {
      ptx::store_wait_read<0>();
      if (can_update && p.accumulate) {
#pragma unroll
        for (int chunk = 0; chunk < buffers; ++chunk) load(chunk);
      }
    }
  }

  // Four rows of a half warp at a time: odd rows touch another group of columns than even ones, so that all banks are hit once.
  template <bool Update>
  __device__ __forceinline__ void fill(std::uint32_t buffer, const float* sum) {
    const int lane = thread % 32;
    const int r = lane / 4;
    const bool odd = (r & 1) != 0;
    const std::uint32_t row_offset = static_cast<std::uint32_t>((thread / 32 * 16 + r) * 128 + (lane & 1) * 8);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float* even_v = sum + j * 4;
      const float* odd_v = sum + (j ^ 2) * 4;
      const int group = odd ? (j ^ 2) : j;
      const std::uint32_t piece = static_cast<std::uint32_t>((group * 2 + ((lane & 3) >> 1)) ^ r);
      const std::uint32_t at = buffer + row_offset + piece * 16;
      float2 top = {odd ? odd_v[0] : even_v[0], odd ? odd_v[1] : even_v[1]};
      float2 bottom = {odd ? odd_v[2] : even_v[2], odd ? odd_v[3] : even_v[3]};
      if constexpr (Update) {
        const float2 old_top = ptx::load_shared(at);
        const float2 old_bottom = ptx::load_shared(at + 8 * 128);
        top.x += old_top.x;
        top.y += old_top.y;
        bottom.x += old_bottom.x;
        bottom.y += old_bottom.y;
      }
      ptx::store_shared(at, top.x, top.y);
      ptx::store_shared(at + 8 * 128, bottom.x, bottom.y);
    }
  }

  template <int Index>
  __device__ __forceinline__ void store_chunk(const float* sum) {
    constexpr int own = Index % buffers;
    const int at = column + Index % across * 32;
    const std::uint32_t buffer = base + own * Config::box_bytes;
    const bool update = can_update && p.accumulate;
    if (at < p.columns) {
      if (update) {
        ptx::barrier_wait(barriers + own * 8, (phases >> own) & 1);
        phases ^= 1u << own;
        fill<true>(buffer, sum);
      } else {
        if (thread == 0) ptx::store_wait_read<buffers - 1>();
        ptx::named_barrier(1 + warpgroup, 128);
        fill<false>(buffer, sum);
      }
      ptx::fence_async_shared();
      ptx::named_barrier(1 + warpgroup, 128);
    }
    if (thread == 0) {
      if (at < p.columns) {
        if (!can_update && p.accumulate) {
          ptx::tensor_add(&p.d, buffer, at, row + Index / across * 64, expert);
        } else {
          ptx::tensor_store(&p.d, buffer, at, row + Index / across * 64, expert);
        }
      }
      ptx::store_commit();
      if (update && Index > 0 && Index + buffers - 1 < chunks) {
        ptx::store_wait_read<1>();  // the chunk before this one has left its buffer
        load(Index + buffers - 1);
      }
    }
  }

  template <int Slab>
  __device__ __forceinline__ void store_slab(const float (&sum)[Config::accumulators]) {
    store_chunk<Slab * across>(sum);
    store_chunk<Slab * across + 1>(sum + 16);
    store_chunk<Slab * across + 2>(sum + 32);
    store_chunk<Slab * across + 3>(sum + 48);
    if constexpr (across > 4) {
      store_chunk<Slab * across + 4>(sum + 64);
      store_chunk<Slab * across + 5>(sum + 80);
    }
  }
};

}  // namespace plait::inline v0_1::kernels::grouped_gemm
