#pragma once
// The math warpgroups' inner loop: wait for a stage, multiply, hand the stage before it back.
#include "plait/kernels/grouped_gemm/config.cuh"
#include "plait/kernels/ptx.cuh"
#include "plait/kernels/wgmma.cuh"

namespace plait::inline v0_1::kernels::grouped_gemm {

// Position in the ring of stages.
template <class Config>
struct stage_cursor {
  int index = 0;
  std::uint32_t phase = 0;
  __device__ __forceinline__ void next() {
    if (++index == Config::stages) index = 0, phase ^= 1;
  }
  __device__ __forceinline__ void skip(int blocks) {
    index += blocks;
    phase ^= (index / Config::stages) & 1;
    index %= Config::stages;
  }
};

// One arrival a warp, on this CTA's barrier and on the peer's (which writes into our stage too).
template <class Config>
__device__ __forceinline__ void release_stage(control<Config>& shared, int stage, int lane) {
  const std::uint32_t barrier = ptx::shared_address(&shared.stage_empty[stage]);
  if constexpr (Config::cluster == 1) {
    if (lane == 0) ptx::barrier_arrive(barrier);
  } else {
    if (lane < Config::cluster) ptx::barrier_arrive_remote(barrier, lane);
  }
}

// Ragged depth: the last block's rows past the expert's end belong to the next expert and are cleared in both operands, so that
// nothing of it, not even a NaN, gets in.
template <class Config>
__device__ __forceinline__ void clear_tail(std::uint32_t stage, int tail, int thread) {
  constexpr int boxes = Config::stage_bytes / Config::box_bytes;
  const int begin = tail * 8;  // in 16-byte pieces; a box has 512
  for (int box = 0; box < boxes; ++box) {
    for (int piece = begin + thread; piece < 512; piece += 128)
      ptx::store_shared_zero16(stage + box * Config::box_bytes + piece * 16);
  }
  ptx::fence_async_shared();
}

// Ping-pong: the warpgroups take their tiles' stages strictly in turn. A warpgroup that waited for a stage more than one lap ahead
// would take an older lap of the same parity for its own.
template <class Config>
__device__ __forceinline__ void take_turn(int warpgroup) {
  if constexpr (Config::ping_pong) ptx::named_barrier(4 + warpgroup, 256);
}

template <class Config>
__device__ __forceinline__ void give_turn(int warpgroup) {
  if constexpr (Config::ping_pong) ptx::named_barrier_arrive(4 + (warpgroup ^ 1), 256);
}

// Accumulates `blocks` stages into `sum`; Slabs = slabs that hold rows to produce, Columns = the instruction's width.
template <class Config, int Slabs, int Columns = Config::columns, major A = Config::a_major, major B = Config::b_major>
__device__ __forceinline__ void multiply_tile(float (&sum)[Config::slabs][Config::accumulators], control<Config>& shared,
                                              std::uint32_t stages, stage_cursor<Config>& cursor, int blocks, int tail,
                                              int warpgroup, int lane) {
  using a_operand = wgmma::operand<A>;
  using b_operand = wgmma::operand<B>;
  using instruction = wgmma::multiply<Columns, A, B>;
  int previous = 0;
  for (int block = 0; block < blocks; ++block) {
    ptx::barrier_wait(ptx::shared_address(&shared.stage_full[cursor.index]), cursor.phase);
    const std::uint32_t base = stages + cursor.index * Config::stage_bytes;
    if constexpr (Config::ragged_depth) {
      if (block == blocks - 1 && tail < Config::depth) {
        clear_tail<Config>(base, tail, static_cast<int>(threadIdx.x) % 128);
        ptx::named_barrier(1 + warpgroup, 128);
      }
    }
    const std::uint64_t a = a_operand::descriptor(base + (Config::ping_pong ? 0 : warpgroup * Config::box_bytes));
    const std::uint64_t b = b_operand::descriptor(base + Config::a_bytes);
    wgmma::fence();
#pragma unroll
    for (int step = 0; step < Config::depth / 16; ++step) {
#pragma unroll
      for (int slab = 0; slab < Slabs; ++slab) {
        instruction::run(reinterpret_cast<float(&)[Columns / 2]>(sum[slab]),
                         a + step * a_operand::step + slab * (Config::box_bytes / 16), b + step * b_operand::step, block | step);
      }
    }
    wgmma::commit();
    if (Config::ping_pong && block == blocks - 1) give_turn<Config>(warpgroup);
    wgmma::wait<1>();
    if (block > 0) release_stage(shared, previous, lane);
    previous = cursor.index;
    cursor.next();
  }
  wgmma::wait<0>();
  release_stage(shared, previous, lane);
}

// Exchanged tiles: the weight is A, the rows are B, and the instruction is as wide as the tile needs: multiples of 16, from 128 on of 8.
template <class Config, int Width = 16>
__device__ __forceinline__ void multiply_exchanged(float (&sum)[Config::slabs][Config::accumulators], control<Config>& shared,
                                                   std::uint32_t stages, stage_cursor<Config>& cursor, int blocks, int width,
                                                   int warpgroup, int lane) {
  if constexpr (Width < Config::columns) {
    if (width > Width)
      return multiply_exchanged<Config, Width + (Width < 128 ? 16 : 8)>(sum, shared, stages, cursor, blocks, width, warpgroup, lane);
  }
  multiply_tile<Config, Config::slabs, Width, Config::b_major, Config::a_major>(sum, shared, stages, cursor, blocks, 0, warpgroup, lane);
}

// A tile, or half of one, with no rows to produce: the stages still have to be handed back.
template <class Config>
__device__ __forceinline__ void pass_tile(control<Config>& shared, stage_cursor<Config>& cursor, int blocks, int lane) {
  for (int block = 0; block < blocks; ++block) {
    ptx::barrier_wait(ptx::shared_address(&shared.stage_full[cursor.index]), cursor.phase);
    __syncwarp();
    release_stage(shared, cursor.index, lane);
    cursor.next();
  }
}

}  // namespace plait::inline v0_1::kernels::grouped_gemm
