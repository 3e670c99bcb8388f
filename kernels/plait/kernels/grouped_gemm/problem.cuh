#pragma once
// Kernel parameters: tensor maps are built on the host and passed by value, so that a launch can be captured in a graph.
#include <cuda.h>

#include "plait/kernels/expert_layout.hpp"

namespace plait::inline v0_1::kernels::grouped_gemm {

struct problem {
  CUtensorMap a;
  CUtensorMap b;
  CUtensorMap d;
  void* d_pointer;       // D again, for the tails the copy engine must not write
  expert_layout layout;
  int rows;              // ragged depth: rows of an expert's D
  int columns;           // columns of D
  int depth;             // ragged rows: the contraction
  bool accumulate;       // ragged depth: D += instead of D =
  unsigned* queue;       // two words, zero between launches: items handed out, clusters that are done; null: dealt in turn
};

}  // namespace plait::inline v0_1::kernels::grouped_gemm
