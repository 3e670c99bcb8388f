#pragma once
// Stable counting sort of items by a small key, in three launches: tiles count, one block scans, tiles place. Only integers are added, so
// the result is the same in every run.
#include "plait/kernels/cuda/device.cuh"

namespace plait::inline v0_1::cuda {

inline constexpr int sort_tile = 1024;

/// counts[tile, bin]. key(i): the bin of the i-th item, or -1 to leave it out.
template <class Key>
__global__ void __launch_bounds__(block_threads) sort_count_kernel(Key key, index n, int bins, int* counts) {
  extern __shared__ int count[];
  for (int b = static_cast<int>(threadIdx.x); b < bins; b += block_threads) count[b] = 0;
  __syncthreads();
  const index begin = static_cast<index>(blockIdx.x) * sort_tile;
  for (int i = static_cast<int>(threadIdx.x); i < sort_tile; i += block_threads) {
    const int b = begin + i < n ? key(begin + i) : -1;
    if (b >= 0) atomicAdd(&count[b], 1);
  }
  __syncthreads();
  for (int b = static_cast<int>(threadIdx.x); b < bins; b += block_threads) counts[static_cast<index>(blockIdx.x) * bins + b] = count[b];
}

/// Counts become the first slot of each (tile, bin); starts[bins + 1] the first slot of each bin (may be null). One block of 1024.
static __global__ void __launch_bounds__(1024) sort_scan_kernel(int* counts, int tiles, int bins, int* starts) {
  __shared__ int sums[1024];
  int carry = 0;
  for (int base = 0; base < bins; base += 1024) {
    const int b = base + static_cast<int>(threadIdx.x);
    int total = 0;
    if (b < bins)
      for (int t = 0; t < tiles; ++t) total += counts[static_cast<index>(t) * bins + b];
    sums[threadIdx.x] = total;
    __syncthreads();
    for (int step = 1; step < 1024; step *= 2) {
      const int before = static_cast<int>(threadIdx.x) >= step ? sums[threadIdx.x - step] : 0;
      __syncthreads();
      sums[threadIdx.x] += before;
      __syncthreads();
    }
    int next = carry + sums[threadIdx.x] - total;
    carry += sums[1023];
    if (b < bins) {
      if (starts != nullptr) starts[b] = next;
      for (int t = 0; t < tiles; ++t) {
        int& at = counts[static_cast<index>(t) * bins + b];
        const int here = at;
        at = next;
        next += here;
      }
    }
    __syncthreads();
  }
  if (starts != nullptr && threadIdx.x == 0) starts[bins] = carry;
}

/// place(i, slot) for every item; slot -1 if it is left out. One warp a tile.
template <class Key, class Place>
__global__ void __launch_bounds__(32) sort_place_kernel(Key key, Place place, index n, int bins, const int* first) {
  extern __shared__ int next[];
  const int lane = static_cast<int>(threadIdx.x);
  for (int b = lane; b < bins; b += 32) next[b] = first[static_cast<index>(blockIdx.x) * bins + b];
  __syncwarp();
  const index begin = static_cast<index>(blockIdx.x) * sort_tile;
  for (int i = lane; i < sort_tile; i += 32) {
    const int b = begin + i < n ? key(begin + i) : -1;
    const unsigned same = __match_any_sync(~0u, b);
    const int earlier = __popc(same & ((1u << lane) - 1));
    int slot = -1;
    if (b >= 0) slot = next[b] + earlier;
    __syncwarp();
    if (b >= 0 && earlier == 0) next[b] += __popc(same);
    __syncwarp();
    if (begin + i < n) place(begin + i, slot);
  }
}

template <class Key, class Place>
void counting_sort(queue& q, Key key, Place place, index n, int bins, int* starts) {
  const unsigned tiles = blocks_for(n, sort_tile);
  const std::size_t shared = sizeof(int) * static_cast<std::size_t>(bins);
  const scratch counts(q, shared * tiles);
  allow_shared(sort_count_kernel<Key>, shared, "sorting");
  allow_shared(sort_place_kernel<Key, Place>, shared, "sorting");
  sort_count_kernel<<<tiles, block_threads, shared, q.stream>>>(key, n, bins, counts.as<int>());
  launched("sorting");
  sort_scan_kernel<<<1, 1024, 0, q.stream>>>(counts.as<int>(), static_cast<int>(tiles), bins, starts);
  launched("sorting");
  sort_place_kernel<<<tiles, 32, shared, q.stream>>>(key, place, n, bins, counts.as<int>());
  launched("sorting");
}

}  // namespace plait::inline v0_1::cuda
