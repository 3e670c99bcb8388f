#pragma once
// The kernel: a persistent grid, one CTA a multiprocessor; warpgroup 0 produces, warpgroups 1 and 2 multiply and store.
#include "plait/kernels/grouped_gemm/config.cuh"
#include "plait/kernels/grouped_gemm/epilogue.cuh"
#include "plait/kernels/grouped_gemm/mainloop.cuh"
#include "plait/kernels/grouped_gemm/problem.cuh"
#include "plait/kernels/grouped_gemm/producer.cuh"
#include "plait/kernels/grouped_gemm/work.cuh"
#include "plait/kernels/ptx.cuh"

namespace plait::inline v0_1::kernels::grouped_gemm {

template <class Config>
__device__ __forceinline__ void consume(const problem& p, control<Config>& shared, std::uint32_t stages, std::uint32_t staging,
                                        int warpgroup) {
  const int thread = static_cast<int>(threadIdx.x) % 128;
  const int lane = thread % 32;
  store_ring<Config> ring{staging + warpgroup * (Config::store_boxes * Config::box_bytes)};
  [[maybe_unused]] store_f32<Config> f32{p, ring.base, ptx::shared_address(&shared.store_full[warpgroup][0]), warpgroup, thread};
  stage_cursor<Config> cursor;
  int slot = 0;
  std::uint32_t slot_phase = 0;

  if (warpgroup == 1) give_turn<Config>(warpgroup);
  for (int turn = 0;; turn ^= 1) {
    ptx::barrier_wait(ptx::shared_address(&shared.notice_full[slot]), slot_phase);
    typename control<Config>::tile_notice notice{};
    if (lane == 0) {  // one lane reads and hands the slot back
      notice = shared.notices[slot];
      ptx::barrier_arrive(ptx::shared_address(&shared.notice_empty[slot]));
    }
    notice.row = __shfl_sync(0xffffffffu, notice.row, 0);
    notice.rows = __shfl_sync(0xffffffffu, notice.rows, 0);
    notice.column = __shfl_sync(0xffffffffu, notice.column, 0);
    notice.expert = __shfl_sync(0xffffffffu, notice.expert, 0);
    notice.blocks = __shfl_sync(0xffffffffu, notice.blocks, 0);
    notice.tail = __shfl_sync(0xffffffffu, notice.tail, 0);
    if constexpr (Config::ragged_depth) {
      notice.turn = __shfl_sync(0xffffffffu, notice.turn, 0);
      notice.flag = __shfl_sync(0xffffffffu, notice.flag, 0);
    }
    if (++slot == Config::ring) slot = 0, slot_phase ^= 1;
    if (notice.blocks == 0) break;

    if constexpr (Config::ping_pong) {
      if (turn != warpgroup) {
        cursor.skip(notice.blocks);
        continue;
      }
    }
    const int first = Config::ping_pong ? 0 : warpgroup * 64;  // first row of the tile that is this warpgroup's
    const int rows = notice.rows - first;
    if (rows <= 0) {
      take_turn<Config>(warpgroup);
      pass_tile<Config>(shared, cursor, notice.blocks, lane);
      give_turn<Config>(warpgroup);
      continue;
    }
    if constexpr (Config::out != output::bf16) f32.begin(notice.row + first, rows, notice.column, notice.expert, notice.turn & 255);
    take_turn<Config>(warpgroup);
    float sum[Config::slabs][Config::accumulators];
    if constexpr (Config::exchanges) {
      if (notice.tail > 0) {
        multiply_exchanged<Config>(sum, shared, stages, cursor, notice.blocks, notice.tail, warpgroup, lane);
        store_bf16_exchanged<Config>(p, sum, ring, notice.row, rows, notice.column, warpgroup, thread);
        continue;
      }
    }
    if (Config::slabs == 1 || rows <= 64) {
      multiply_tile<Config, 1>(sum, shared, stages, cursor, notice.blocks, notice.tail, warpgroup, lane);
    } else {
      multiply_tile<Config, Config::slabs>(sum, shared, stages, cursor, notice.blocks, notice.tail, warpgroup, lane);
    }
    if constexpr (Config::out != output::bf16) {
      f32.await_turn(notice.turn & 255, notice.flag);
      f32.template store_slab<0>(sum[0]);
      if (rows > 64) f32.template store_slab<1>(sum[1]);
      f32.pass_turn(notice.turn, notice.flag);
    } else {
#pragma unroll
      for (int slab = 0; slab < Config::slabs; ++slab) {
        if (slab * 64 < rows)
          store_bf16<Config>(p, sum[slab], ring, notice.row + first + slab * 64, rows - slab * 64, notice.column, warpgroup, thread);
      }
    }
  }
  if (thread == 0) ptx::store_wait_all();
}

template <class Config>
__global__ void __launch_bounds__(Config::threads, 1) run(const __grid_constant__ problem p) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const std::uint32_t stages = ptx::shared_address(memory);
  const std::uint32_t staging = stages + Config::stages * Config::stage_bytes;
  auto& shared = *reinterpret_cast<control<Config>*>(memory + Config::stages * Config::stage_bytes + Config::staging_bytes);
  static_assert(sizeof(control<Config>) <= Config::control_bytes);

  const int warp = static_cast<int>(threadIdx.x) / 32;
  if constexpr (Config::ragged_depth) {
    sort_experts<Config>(p, shared, reinterpret_cast<int*>(memory), static_cast<int>(threadIdx.x));
  } else if (warp == 0) {
    scan_items<Config>(p, shared.table, static_cast<int>(threadIdx.x));
  }
  if (threadIdx.x == 32) {
    ptx::prefetch_tensor_map(&p.a);
    ptx::prefetch_tensor_map(&p.b);
    ptx::prefetch_tensor_map(&p.d);
    for (int stage = 0; stage < Config::stages; ++stage) {
      ptx::barrier_init(ptx::shared_address(&shared.stage_full[stage]), 1);
      ptx::barrier_init(ptx::shared_address(&shared.stage_empty[stage]), Config::math_warps_a_tile * Config::cluster);
    }
    for (int slot = 0; slot < Config::ring; ++slot) {
      ptx::barrier_init(ptx::shared_address(&shared.notice_full[slot]), 1);
      ptx::barrier_init(ptx::shared_address(&shared.notice_empty[slot]), Config::notice_readers);
    }
    for (int buffer = 0; buffer < 8; ++buffer) ptx::barrier_init(ptx::shared_address(&shared.store_full[buffer / 4][buffer % 4]), 1);
    ptx::barrier_init(ptx::shared_address(&shared.taken), 1);
    for (int slot = 0; slot < Config::mailbox; ++slot) ptx::barrier_init(ptx::shared_address(&shared.mail_full[slot]), 1);
    ptx::barrier_init_fence();
  }
  __syncthreads();
  if constexpr (Config::cluster > 1) ptx::cluster_sync();

  if (warp < 4) {
    ptx::registers_shrink<40>();
    if (threadIdx.x == 0) load_tiles<Config>(p, shared, stages);
    if (threadIdx.x == 32) schedule_tiles<Config>(p, shared);
    __syncwarp();
  } else {
    ptx::registers_grow<232>();
    consume<Config>(p, shared, stages, staging, warp / 4 - 1);
  }
  if constexpr (Config::cluster > 1) ptx::cluster_sync();  // no CTA leaves while its peer may still write into it
}

}  // namespace plait::inline v0_1::kernels::grouped_gemm
