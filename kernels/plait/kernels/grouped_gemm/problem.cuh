#pragma once
// Kernel parameters: tensor maps are built on the host and passed by value, so that a launch can be captured in a graph.
#include <cuda.h>

#include "plait/kernels/expert_layout.hpp"
#include "plait/kernels/grouped_gemm.hpp"

namespace plait::inline v0_1::kernels::grouped_gemm {

struct problem {
  CUtensorMap a;
  CUtensorMap b;
  CUtensorMap b_half;    // B, mn major, 192 columns: boxes of 32 contraction steps
  CUtensorMap a_half;    // exchanged tiles: A in boxes of 32 rows
  CUtensorMap b_box;     // and B, k major, in boxes of 64
  CUtensorMap d;
  void* d_pointer;       // D again, for the tails the copy engine must not write
  expert_layout layout;
  int rows;              // ragged depth: rows of an expert's D
  int columns;           // columns of D
  int depth;             // ragged rows: the contraction
  bool accumulate;       // ragged depth: D += instead of D =
  unsigned* queue;       // zero between launches: items handed out, clusters that are done, turns; null: dealt in turn
};

inline constexpr int turn_words = queue_words - 2;

}  // namespace plait::inline v0_1::kernels::grouped_gemm
