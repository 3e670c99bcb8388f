#pragma once
// The producing warps: a scheduler and a loader, one thread each.
#include "plait/kernels/grouped_gemm/config.cuh"
#include "plait/kernels/grouped_gemm/problem.cuh"
#include "plait/kernels/grouped_gemm/work.cuh"
#include "plait/kernels/ptx.cuh"

namespace plait::inline v0_1::kernels::grouped_gemm {

// A box for this CTA, or for both.
__device__ __forceinline__ void load_box(bool both, std::uint32_t to, const CUtensorMap* map, std::uint32_t full, int c0, int c1,
                                         int c2) {
  if (both) {
    ptx::tensor_load_multicast(to, map, full, c0, c1, c2, 3);
  } else {
    ptx::tensor_load(to, map, full, c0, c1, c2);
  }
}

// A and B of one depth block of a tile. Boxes of A: two of 64 rows (k major) or of 64 columns (mn major); of B: all columns, one piece
// a CTA (k major), or one each 64 columns (mn major). Of what a cluster shares, each CTA loads about half for both.
template <class Config>
__device__ __forceinline__ void load_block(const problem& p, const typename control<Config>::tile_notice& t,
                                           std::uint32_t stage, std::uint32_t full, int block, int rank) {
  constexpr int cut = Config::cluster;
  const bool share_a = cut > 1 && (t.loads & 4) != 0;
  const bool share_b = cut > 1 && (t.loads & 4) == 0;
  const int expert = Config::ragged_depth ? 0 : t.expert;
  const int depth = t.first_depth + block * Config::depth;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (half < (t.loads & 3) && (!share_a || half == rank)) {
      const bool k = Config::a_major == major::k;
      const int along = t.row + half * 64;
      load_box(share_a, stage + half * Config::box_bytes, &p.a, full, k ? depth : along, k ? along : depth, 0);
    }
  }
  const std::uint32_t b = stage + Config::a_bytes;
  if constexpr (Config::b_major == major::k) {
    constexpr int piece = Config::columns / cut;
#pragma unroll
    for (int part = 0; part < cut; ++part) {
      if (!share_b || part == rank) load_box(share_b, b + part * piece * 128, &p.b, full, depth, t.column + part * piece, expert);
    }
  } else {
    if (Config::halves_middle && share_b) {
      const int own = rank * 2;
      ptx::tensor_load_multicast(b + own * Config::box_bytes, &p.b, full, t.column + own * 64, depth, expert, 3);
      ptx::tensor_load_multicast(b + Config::box_bytes + rank * (Config::box_bytes / 2), &p.b_half, full, t.column + 64,
                                 depth + rank * 32, expert, 3);
      return;
    }
#pragma unroll 1
    for (int chunk = 0; chunk < Config::columns / 64; ++chunk) {
      if (!share_b || ((chunk + block) & 1) == rank)
        load_box(share_b, b + chunk * Config::box_bytes, &p.b, full, t.column + chunk * 64, depth, expert);
    }
  }
}

// An exchanged tile: in A's place the weight, two boxes of 64 rows; in B's the expert's rows, shared, in boxes of 64 and at most one of 32.
template <class Config>
__device__ __forceinline__ void load_block_exchanged(const problem& p, const typename control<Config>::tile_notice& t,
                                                     std::uint32_t stage, std::uint32_t full, int block, int rank) {
  constexpr bool k = Config::b_major == major::k;
  const int depth = block * Config::depth;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int along = t.column + half * 64;
    ptx::tensor_load(stage + half * Config::box_bytes, k ? &p.b_box : &p.b, full, k ? depth : along, k ? along : depth, t.expert);
  }
#pragma unroll
  for (int box = 0; box < Config::columns / 64; ++box) {
    const int left = t.tail - box * 64;
    if (left > 0 && ((box + block) & 1) == rank)  // uneven shares change hands from block to block
      ptx::tensor_load_multicast(stage + Config::a_bytes + box * Config::box_bytes, left > 32 ? &p.a : &p.a_half, full, depth,
                                 t.row + box * 64, 0, 3);
  }
}

// One reader's position in the ring of notices.
template <class Config>
struct notice_cursor {
  int slot = 0;
  std::uint32_t phase = 0;
  __device__ __forceinline__ void next() {
    if (++slot == Config::ring) slot = 0, phase ^= 1;
  }
  // Waits for the notice and copies it; one thread reads.
  __device__ __forceinline__ typename control<Config>::tile_notice read(control<Config>& shared) {
    ptx::barrier_wait(ptx::shared_address(&shared.notice_full[slot]), phase);
    const auto notice = shared.notices[slot];
    ptx::barrier_arrive(ptx::shared_address(&shared.notice_empty[slot]));
    next();
    return notice;
  }
};

// The scheduler (one thread): draws work items, in turn or from the queue in device memory, locates their tiles and tells everyone.
// It draws when the loader has begun the tile before, so that little is promised ahead. Of a cluster the first CTA draws and sends
// the other what it drew.
template <class Config>
__device__ __forceinline__ void schedule_tiles(const problem& p, control<Config>& shared) {
  const int rank = Config::cluster == 1 ? 0 : static_cast<int>(ptx::cluster_rank());
  const int clusters = static_cast<int>(gridDim.x) / Config::cluster;
  const int items = items_of<Config>(p, shared);
  notice_cursor<Config> cursor;
  int item = static_cast<int>(blockIdx.x) / Config::cluster;
  stand at;
  int mail = 0;
  std::uint32_t mail_phase = 0;
  std::uint32_t taken_phase = 0;
#pragma unroll 1
  while (true) {
    ptx::barrier_wait(ptx::shared_address(&shared.notice_empty[cursor.slot]), cursor.phase ^ 1);
    auto& notice = shared.notices[cursor.slot];
    if (item < items) {
      const tile t = locate<Config>(p, shared, item, at, rank);
      const int blocks = max(1, (t.depth + Config::depth - 1) / Config::depth);
      notice = {t.row,  t.rows, t.column, t.expert, blocks, Config::ragged_depth ? t.depth - (blocks - 1) * Config::depth : t.width,
                t.first_depth, (t.load_rows + 63) / 64 + (t.share_a ? 4 : 0), t.turn, t.flag};
    } else {
      notice.blocks = 0;
    }
    ptx::barrier_arrive(ptx::shared_address(&shared.notice_full[cursor.slot]));
    cursor.next();
    if (item >= items) break;
    ptx::barrier_wait(ptx::shared_address(&shared.taken), taken_phase);
    taken_phase ^= 1;
    if (p.queue == nullptr) {
      item += clusters;
    } else {
      const std::uint32_t barrier = ptx::shared_address(&shared.mail_full[mail]);
      if (rank == 0) {
        item = clusters + static_cast<int>(atomicAdd(p.queue, 1u));
        if constexpr (Config::cluster > 1) ptx::send_word(ptx::shared_address(&shared.mail[mail]), item, barrier, 1);
      } else {
        ptx::barrier_arrive_expect(barrier, 4);
        ptx::barrier_wait(barrier, mail_phase);
        item = *const_cast<volatile int*>(&shared.mail[mail]);
      }
      if (++mail == Config::mailbox) mail = 0, mail_phase ^= 1;
    }
  }
  if (p.queue != nullptr && rank == 0) {  // the last cluster to finish leaves the queue as it was found
    __threadfence();
    if (atomicAdd(p.queue + 1, 1u) == static_cast<unsigned>(clusters) - 1) {
      atomicExch(p.queue, 0u);
      atomicExch(p.queue + 1, 0u);
    }
  }
}

// The loader (one thread): keeps the stages filled.
template <class Config>
__device__ __forceinline__ void load_tiles(const problem& p, control<Config>& shared, std::uint32_t stages) {
  const int rank = Config::cluster == 1 ? 0 : static_cast<int>(ptx::cluster_rank());
  notice_cursor<Config> cursor;
  int stage = 0;
  std::uint32_t phase = 0;
#pragma unroll 1
  while (true) {
    const auto t = cursor.read(shared);
    if (t.blocks == 0) break;
    ptx::barrier_arrive(ptx::shared_address(&shared.taken));
    const bool exchanged = Config::exchanges && t.tail > 0;
    const auto bytes = static_cast<std::uint32_t>(exchanged ? Config::a_bytes + (t.tail + 31) / 32 * (Config::box_bytes / 2)
                                                            : Config::b_bytes + (t.loads & 3) * Config::box_bytes);
#pragma unroll 1
    for (int block = 0; block < t.blocks; ++block) {
      const std::uint32_t full = ptx::shared_address(&shared.stage_full[stage]);
      ptx::barrier_wait(ptx::shared_address(&shared.stage_empty[stage]), phase ^ 1);
      ptx::barrier_arrive_expect(full, bytes);
      if (exchanged) {
        load_block_exchanged<Config>(p, t, stages + stage * Config::stage_bytes, full, block, rank);
      } else {
        load_block<Config>(p, t, stages + stage * Config::stage_bytes, full, block, rank);
      }
      if (++stage == Config::stages) stage = 0, phase ^= 1;
    }
  }
}

}  // namespace plait::inline v0_1::kernels::grouped_gemm
