#pragma once
// What the instances take: D[rows, columns] = A * B with the contraction `depth`, one of rows and depth ragged.
#include <cstdint>

#include "plait/kernels/expert_layout.hpp"

struct CUstream_st;

namespace plait::inline v0_1::kernels::grouped_gemm {

struct arguments {
  const void* a;
  const void* b;
  void* d;
  expert_layout layout;
  std::int64_t total_rows;
  int rows;
  int columns;
  int depth;
  bool accumulate;
  unsigned* queue;
  int multiprocessors;
  CUstream_st* stream;
};

// The instances (kernels/instances). _k: B's rows run along the contraction; _n: along D's columns.
const char* rows_k_cooperative_256(const arguments&);
const char* rows_k_cooperative_192(const arguments&);
const char* rows_k_ping_pong_192(const arguments&);
const char* rows_k_ping_pong_128(const arguments&);
const char* rows_n_cooperative_256(const arguments&);
const char* rows_n_cooperative_192(const arguments&);
const char* rows_n_ping_pong_192(const arguments&);
const char* rows_n_ping_pong_128(const arguments&);
const char* depth_ping_pong_192_update(const arguments&);
const char* depth_ping_pong_192_add(const arguments&);
const char* rows_k_portable(const arguments&);
const char* rows_n_portable(const arguments&);
const char* depth_portable(const arguments&);

}  // namespace plait::inline v0_1::kernels::grouped_gemm
