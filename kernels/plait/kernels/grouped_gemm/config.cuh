#pragma once
// One kernel instance: tile, schedule, operand layouts, output. Everything below is decided at compile time.
#include <cstddef>
#include <cstdint>

#include "plait/kernels/expert_layout.hpp"
#include "plait/kernels/wgmma.cuh"

namespace plait::inline v0_1::kernels::grouped_gemm {

// What is ragged: rows of A and D (forward, input gradient), or the contraction (weight gradient).
enum class ragged : int { rows, depth };

// cooperative: both math warpgroups share a 128-row tile, 64 rows each.
// ping_pong: each owns a whole tile, so that one multiplies while the other stores.
enum class schedule : int { cooperative, ping_pong };

enum class output : int { bf16, f32_update, f32_add };

// Cluster is 1 or 2 CTAs; two CTAs share the operand they have in common by multicast.
template <int Columns, schedule Schedule, ragged Ragged, major A, major B, output Output, int Cluster>
struct config {
  static constexpr int rows = 128;
  static constexpr int columns = Columns;
  static constexpr int depth = 64;  // 128 bytes of bf16: one swizzle row
  static constexpr int cluster = Cluster;
  static constexpr bool ping_pong = Schedule == schedule::ping_pong;
  static constexpr bool ragged_depth = Ragged == ragged::depth;
  // What is left of an expert beside full pairs of row tiles is computed with the operands exchanged (work.cuh).
  static constexpr bool exchanges = Ragged == ragged::rows && ping_pong && Columns == 192 && Cluster == 2;
  static constexpr major a_major = A;
  static constexpr major b_major = B;
  static constexpr output out = Output;

  // B in three boxes: of two CTAs each loads an outer one and half of the middle one.
  static constexpr bool halves_middle = B == major::mn && Columns == 192 && Cluster == 2;

  static constexpr int slabs = ping_pong ? 2 : 1;  // 64-row slabs of accumulators a math warpgroup holds
  static constexpr int accumulators = Columns / 2;

  static constexpr int a_bytes = rows * depth * 2;
  static constexpr int b_bytes = Columns * depth * 2;
  static constexpr int stage_bytes = a_bytes + b_bytes;
  static constexpr int box_bytes = 64 * 128;  // a 64-row, 128-byte box, for operands (mn major) and outputs alike

  // Staging buffers a math warpgroup. A stage more is worth more than a second buffer where the other warpgroup multiplies meanwhile.
  static constexpr int store_boxes = Output == output::f32_update ? 4 : Output == output::f32_add || (ping_pong && Columns == 192) ? 1 : 2;
  static constexpr int store_columns = Output == output::bf16 ? 64 : 32;  // 128 bytes
  static constexpr int staging_bytes = 2 * store_boxes * box_bytes;

  static constexpr int ring = 4;      // tiles announced ahead by the scheduler
  static constexpr int mailbox = 8;   // work items sent ahead to the cluster's other CTA: more than it can lag behind
  static constexpr int control_bytes = (expert_layout::max_experts + 4) * 4 + 640;
  static constexpr int shared_limit = 232448;
  static constexpr int stages = (shared_limit - control_bytes - staging_bytes) / stage_bytes;
  static constexpr int shared_bytes = stages * stage_bytes + staging_bytes + control_bytes;

  static constexpr int math_threads = 256;
  static constexpr int threads = 128 + math_threads;
  static constexpr int math_warps_a_tile = ping_pong ? 4 : 8;
  static constexpr int notice_readers = 8 + 1;  // the math warps and the loader

  static_assert(stages >= 3 && stages < mailbox - 1);
  static_assert(Columns % 64 == 0 && accumulators * slabs <= 192);
  static_assert(!ragged_depth || (A == major::mn && B == major::mn), "a ragged contraction runs along the rows of both operands");
  static_assert(!ragged_depth || ping_pong, "a warpgroup clears the last block alone, so it must own the tile");
  static_assert(!exchanges || A == major::k);
};

// The control block at the end of shared memory.
template <class Config>
struct control {
  struct alignas(16) tile_notice {
    int row;          // first row of D (ragged rows: in the whole D; ragged depth: in the expert's), and of A
    int rows;         // rows this CTA must produce, 0 .. 128
    int column;       // first column of D
    int expert;
    int blocks;       // depth blocks; 0 ends the kernel
    int tail;         // ragged depth: contraction rows in the last block; ragged rows: the width of an exchanged tile, or 0
    int first_depth;  // where the contraction starts in the operands
    int loads;        // 64-row boxes of A, + 4 if the cluster shares A
    int turn;         // ragged depth: this segment's turn to add to the tile, + 256 if it is the last
    int flag;         // the word that passes the turn; -1 where the contraction is not cut
  };
  tile_notice notices[Config::ring];
  std::uint64_t stage_full[Config::stages];
  std::uint64_t stage_empty[Config::stages];
  std::uint64_t notice_full[Config::ring];
  std::uint64_t notice_empty[Config::ring];
  std::uint64_t store_full[2][4];  // f32_update: the old values of a staging buffer have arrived
  std::uint64_t taken;             // the loader has begun another tile
  std::uint64_t mail_full[Config::mailbox];
  int mail[Config::mailbox];
  int items;                                  // ragged depth: work items
  int alive;                                  // and experts that have any
  int table[expert_layout::max_experts + 1];  // work.cuh: prefix sums of work items, or experts in order
};

}  // namespace plait::inline v0_1::kernels::grouped_gemm
