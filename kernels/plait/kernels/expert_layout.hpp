#pragma once
// Where each expert's rows lie in the activations. Read on the device only: the host never learns the counts.
#include <cstdint>

namespace plait::inline v0_1::kernels {

// contiguous: offsets[0 .. experts], expert e owns rows offsets[e] .. offsets[e + 1]; no padding, any tail, empty experts allowed.
// masked:     expert e owns the first counts[e] rows of a block of `capacity` rows.
struct expert_layout {
  const int* table = nullptr;
  int experts = 0;
  int capacity = 0;  // 0: contiguous

  static constexpr int max_experts = 512;

  static expert_layout contiguous(const int* offsets, int experts) { return {offsets, experts, 0}; }
  static expert_layout masked(const int* counts, int experts, int capacity) { return {counts, experts, capacity}; }

#ifdef __CUDACC__
  __device__ __forceinline__ int begin(int expert) const { return capacity != 0 ? expert * capacity : __ldg(table + expert); }
  __device__ __forceinline__ int rows(int expert) const {
    return capacity != 0 ? __ldg(table + expert) : __ldg(table + expert + 1) - __ldg(table + expert);
  }
#endif
};

}  // namespace plait::inline v0_1::kernels
