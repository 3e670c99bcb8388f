#pragma once
// What attention kernels share: shapes, and which keys each query of a tile sees.
#include "plait/kernels/cuda/device.cuh"

namespace plait::inline v0_1::cuda {

struct attention_shape {
  index batch, queries, keys, room, heads, key_heads, group;  // room: for so many keys there is memory
  int width, value_width;  // of queries and keys, of values and the output

  attention_shape(const view& q, const view& k, const view& v, index present)
      : batch(q.extent[0]), queries(q.extent[1]), keys(present), room(k.extent[1]), heads(q.extent[2]), key_heads(k.extent[2]),
        group(key_heads > 0 ? heads / key_heads : 1), width(static_cast<int>(q.extent[3])), value_width(static_cast<int>(v.extent[3])) {}
  __device__ index q_at(index b, index i, index h) const { return ((b * queries + i) * heads + h) * width; }
  __device__ index k_at(index b, index j, index h) const { return ((b * room + j) * key_heads + h) * width; }
  __device__ index q_step() const { return heads * width; }
  __device__ index k_step() const { return key_heads * width; }
  __device__ index out_at(index b, index i, index h) const { return ((b * queries + i) * heads + h) * value_width; }
  __device__ index v_at(index b, index j, index h) const { return ((b * room + j) * key_heads + h) * value_width; }
  __device__ index out_step() const { return heads * value_width; }
  __device__ index v_step() const { return key_heads * value_width; }
  /// One block a tile of rows, head and batch row.
  dim3 grid(index rows, int tile, index of_heads) const {
    return dim3(blocks_for(rows, tile, 0x7fffffff), static_cast<unsigned>(of_heads), static_cast<unsigned>(batch));
  }
};

inline constexpr float log2_e = 1.4426950408889634f;
/// Over the four threads that hold a row of a tensor core's sums.
template <class Op>
__device__ __forceinline__ float over_4(float value, Op op) {
  value = op(value, __shfl_xor_sync(~0u, value, 1));
  return op(value, __shfl_xor_sync(~0u, value, 2));
}

/// A query sees the keys [from, to).
struct key_range {
  int from, to;
};
__device__ __forceinline__ key_range range_of(const attention_shape& s, const int* segments, index b, index query) {
  const index position = query + s.keys - s.queries;
  if (query >= s.queries || position < 0 || position >= s.keys) return {0, 0};
  int from = segments != nullptr ? segments[b * s.room + position] : 0;
  from = from < 0 ? 0 : from;
  const int to = static_cast<int>(position) + 1;
  return from < to ? key_range{from, to} : key_range{0, 0};  // sees nothing
}

/// The keys [low, high) that some query of a tile sees, and those, [full_low, full_high), that all of them see.
struct tile_range {
  int low, high, full_low, full_high;
};

/// The ranges of queries [first, first + Tile); the whole block calls it, and is synchronised.
template <int Tile>
__device__ __forceinline__ tile_range ranges_of(const attention_shape& s, const int* segments, index b, index first, key_range* ranges) {
  __shared__ tile_range shared;
  if (threadIdx.x < 32) {
    tile_range t{0x7fffffff, 0, 0, 0x7fffffff};
    for (int i = static_cast<int>(threadIdx.x); i < Tile; i += 32) {
      const key_range r = range_of(s, segments, b, first + i);
      ranges[i] = r;
      if (first + i < s.queries) {
        t.full_low = max(t.full_low, r.from);
        t.full_high = min(t.full_high, r.to);
      }
      if (r.from >= r.to) continue;
      t.low = min(t.low, r.from);
      t.high = max(t.high, r.to);
    }
    t.low = __reduce_min_sync(~0u, t.low);
    t.high = __reduce_max_sync(~0u, t.high);
    t.full_low = __reduce_max_sync(~0u, t.full_low);
    t.full_high = __reduce_min_sync(~0u, t.full_high);
    t.low = min(t.low, t.high);
    if (threadIdx.x == 0) shared = t;
  }
  __syncthreads();
  return shared;
}

/// Log-sums and deltas of a tile's queries.
template <int Tile>
__device__ __forceinline__ void statistics_of(const attention_shape& s, index b, index h, index first, const float* lse, const float* delta,
                                              float* tile_lse, float* tile_delta) {
  for (int i = static_cast<int>(threadIdx.x); i < Tile; i += static_cast<int>(blockDim.x)) {
    const bool here = first + i < s.queries;
    const index at = (b * s.heads + h) * s.queries + first + i;
    tile_lse[i] = here ? lse[at] : 0.0f;
    tile_delta[i] = here ? delta[at] : 0.0f;
  }
}

/// delta[b, h, i] = out . dout, from which and the log-sums gradients are recomputed.
struct gradient_inputs {
  const float *lse, *delta;
};

// bf16 on Hopper (attention_wgmma.cu, attention_gradient_wgmma.cu): heads of 64 or 128, values as wide, and of 192 with values of 128.
// False where it does not fit: then the next serve.
bool wgmma_attention(queue& on, const attention_shape& s, const view& q, const view& k, const view& v, const int* segments, float scale,
                     const view& out, float* lse);
bool wgmma_attention_gradient(queue& on, const attention_shape& s, const view& q, const view& k, const view& v, const int* segments,
                              float scale, const gradient_inputs& in, const view& dout, const view& dq, const view& dk, const view& dv);

// bf16, few queries over many keys (attention_few.cu): at most 64 rows of query and head of a group. False where it does not fit.
bool few_query_attention(queue& on, const attention_shape& s, const view& q, const view& k, const view& v, const int* segments, float scale,
                         const view& out, float* lse);

// bf16 on the tensor cores (attention_mma.cu), values no wider than keys; false where it does not fit: then the plain kernels serve.
bool mma_attention(queue& on, const attention_shape& s, const view& q, const view& k, const view& v, const int* segments, float scale,
                   const view& out, float* lse);
bool mma_attention_gradient(queue& on, const attention_shape& s, const view& q, const view& k, const view& v, const int* segments,
                            float scale, const gradient_inputs& in, const view& dout, const view& dq, const view& dk, const view& dv);

}  // namespace plait::inline v0_1::cuda
