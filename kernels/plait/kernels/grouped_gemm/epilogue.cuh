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

// A filled staging buffer, 64 rows x 64 columns, to D. Rows past `rows` belong to the next expert or tile: a partial slab is
// copied by the threads instead.
template <class Config>
__device__ __forceinline__ void store_box(const problem& p, std::uint32_t buffer, int row, int rows, int column,
                                          int warpgroup, int thread) {
  const bool issuer = thread == 0;
  ptx::fence_async_shared();
  ptx::named_barrier(1 + warpgroup, 128);
  if (rows >= 64) {
    if (issuer) ptx::tensor_store(&p.d, buffer, column, row, 0);
  } else {
    for (int index = thread; index < rows * 8; index += 128) {
      const int r = index / 8;
      const int c = index % 8;
      if (column + c * 8 < p.columns) {
        auto* to = static_cast<std::uint16_t*>(p.d_pointer) + static_cast<std::size_t>(row + r) * p.columns + column + c * 8;
        *reinterpret_cast<uint4*>(to) = ptx::load_shared16(buffer + r * 128 + ((c ^ (r & 7)) * 16));
      }
    }
  }
  if (issuer) ptx::store_commit();  // an empty group after a copied slab keeps the count of buffers right
}

// A slab of 64 rows of bf16, 64 columns at a time.
template <class Config>
__device__ __forceinline__ void store_bf16(const problem& p, const float (&sum)[Config::accumulators], store_ring<Config>& ring,
                                           int row, int rows, int column, int warpgroup, int thread) {
  const int lane = thread % 32;
  const std::uint32_t row_offset = static_cast<std::uint32_t>((thread / 32 * 16 + (lane & 15)) * 128);
#pragma unroll
  for (int chunk = 0; chunk < Config::columns / 64; ++chunk) {
    if (column + chunk * 64 < p.columns) {
      const std::uint32_t buffer = ring.acquire(warpgroup, thread == 0);
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        const float* v = sum + (chunk * 8 + pair * 2) * 4;
        const std::uint32_t piece = static_cast<std::uint32_t>((pair * 2 + (lane >> 4)) ^ (lane & 7));
        ptx::store_matrices(buffer + row_offset + piece * 16, ptx::pack_bf16(v[0], v[1]), ptx::pack_bf16(v[2], v[3]),
                            ptx::pack_bf16(v[4], v[5]), ptx::pack_bf16(v[6], v[7]));
      }
      store_box<Config>(p, buffer, row, rows, column + chunk * 64, warpgroup, thread);
    }
  }
}

// An exchanged tile: the accumulators hold D transposed, 64 columns of D a slab; rows 64 at a time.
template <class Config>
__device__ __forceinline__ void store_bf16_exchanged(const problem& p, const float (&sum)[Config::slabs][Config::accumulators],
                                                     store_ring<Config>& ring, int row, int rows, int column, int warpgroup,
                                                     int thread) {
  const int lane = thread % 32;
  const int first = (lane & 7) + (lane >> 4) * 8;  // the row this lane addresses, and its piece of 8 columns
  const std::uint32_t piece = static_cast<std::uint32_t>((thread / 32 * 2 + ((lane >> 3) & 1)) ^ (lane & 7));
#pragma unroll
  for (int chunk = 0; chunk < Config::columns / 64; ++chunk) {
#pragma unroll
    for (int slab = 0; slab < Config::slabs; ++slab) {
      if (chunk * 64 < rows && column + slab * 64 < p.columns) {
        const std::uint32_t buffer = ring.acquire(warpgroup, thread == 0);
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) {
          const float* v = sum[slab] + (chunk * 8 + pair * 2) * 4;
          ptx::store_matrices_transposed(buffer + static_cast<std::uint32_t>((pair * 16 + first) * 128) + piece * 16,
                                         ptx::pack_bf16(v[0], v[1]), ptx::pack_bf16(v[2], v[3]), ptx::pack_bf16(v[4], v[5]),
                                         ptx::pack_bf16(v[6], v[7]));
        }
        store_box<Config>(p, buffer, row + chunk * 64, rows - chunk * 64, column + slab * 64, warpgroup, thread);
      }
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
  bool accumulate = false;

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

  __device__ __forceinline__ void load_first() {
#pragma unroll
    for (int chunk = 0; chunk < buffers; ++chunk) load(chunk);
  }

  // Before the products: the first old values start on their way, unless another segment has yet to add to them.
  __device__ __forceinline__ void begin(int row_, int rows, int column_, int expert_, int segment) {
    row = row_;
    column = column_;
    expert = expert_;
    chunks = rows > 64 ? 2 * across : across;
    accumulate = p.accumulate || segment > 0;
    if (thread == 0) {
      ptx::store_wait_read<0>();
      if (can_update && accumulate && segment == 0) load_first();
    }
  }

  // After the products, segments but the first: waits until the one before has added its part.
  __device__ __forceinline__ void await_turn(int segment, int flag) {
    if (segment == 0 || thread != 0) return;
    while (ptx::load_acquire(p.queue + 2 + flag) != static_cast<unsigned>(segment)) __nanosleep(100);
    ptx::fence_async();
    if (can_update) load_first();
  }

  // After the stores: the next segment's turn; the last leaves the word as it was found.
  __device__ __forceinline__ void pass_turn(int turn, int flag) {
    if (flag < 0 || thread != 0) return;
    ptx::store_wait_all();
    ptx::fence_async();
    ptx::store_release(p.queue + 2 + flag, turn >= 256 ? 0u : static_cast<unsigned>(turn) + 1);
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
    const bool update = can_update && accumulate;
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
        if (!can_update && accumulate) {
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
