// The place of a row's largest element: blocks take parts of rows and meet in a word a row, which orders by value, then by place.
#include <cmath>

#include "plait/kernels/cuda/device.cuh"
#include "plait/kernels/cuda/ops.hpp"

namespace plait::inline v0_1::cuda {
namespace {

inline constexpr index part = 4096;  // elements of a block
using word = unsigned long long;

/// Greater for greater values, of equal ones for the earlier place; greatest for NaN.
__device__ __forceinline__ word word_of(float value, index place) {
  const unsigned bits = __float_as_uint(value + 0.0f);  // one zero
  const unsigned ordered = isnan(value) ? ~0u : (bits >> 31 != 0 ? ~bits : bits | 0x80000000u);
  return static_cast<word>(ordered) << 32 | static_cast<unsigned>(~place);
}

template <class T, int V>
__global__ void __launch_bounds__(block_threads) argmax_kernel(const T* x, index n, word* best) {
  const index r = blockIdx.y, from = static_cast<index>(blockIdx.x) * part, to = from + part < n ? from + part : n;
  word mine = 0;
  for (index c = from + threadIdx.x * V; c < to; c += block_threads * V) {
    float a[V];
    load<V>(x + r * n + c, a);
#pragma unroll
    for (int j = 0; j < V; ++j) mine = larger{}(mine, word_of(a[j], c + j));
  }
  mine = over_group<block_threads>(mine, larger{});
  if (threadIdx.x == 0) atomicMax(best + r, mine);
}

__global__ void __launch_bounds__(block_threads) places_kernel(const word* best, index rows, std::int64_t* places) {
  const index r = static_cast<index>(blockIdx.x) * block_threads + threadIdx.x;
  if (r >= rows) return;
  const auto ordered = static_cast<unsigned>(best[r] >> 32);
  const float value = __uint_as_float(ordered >> 31 != 0 ? ordered & 0x7fffffffu : ~ordered);
  places[r] = ordered == ~0u || !isfinite(value) ? -1 : static_cast<std::int64_t>(~static_cast<unsigned>(best[r]));
}

}  // namespace

void argmax(const execution& ex, view x, view places) {
  const index rows = x.rows(), n = x.columns();
  if (rows == 0) return;
  queue& q = queue_of(ex);
  const scratch best(q, sizeof(word) * static_cast<std::size_t>(rows));
  check(cudaMemsetAsync(best.as<void>(), 0, sizeof(word) * static_cast<std::size_t>(rows), q.stream), "argmax");
  visit_float("argmax", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_vector<wide<T>>(n, [&](auto v) {
      for (index first = 0; n > 0 && first < rows; first += 65535) {
        const dim3 grid(blocks_for(n, part), blocks_for(rows - first, 1, 65535));
        argmax_kernel<T, decltype(v)::value><<<grid, block_threads, 0, q.stream>>>(x.as<const T>() + first * n, n, best.as<word>() + first);
        launched("argmax");
      }
    }, x.as<const T>());
  });
  places_kernel<<<blocks_for(rows, block_threads, 0x7fffffff), block_threads, 0, q.stream>>>(best.as<const word>(), rows, places.as<std::int64_t>());
  launched("argmax");
}

}  // namespace plait::inline v0_1::cuda
