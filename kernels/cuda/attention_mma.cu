// Attention in bf16 on the tensor cores (mma.sync m16n8k16, float32 sums), heads of 32 to 192 whose values may be narrower: 64 queries a
// block against tiles of 64 keys that arrive by asynchronous copies, two stages deep. Probabilities are rounded to bf16 before they meet
// the values. Gradients take two passes, one a tile of queries, one a tile of keys, so that every sum has one owner and a fixed order.
#include "plait/kernels/cuda/attention_mma.cuh"

namespace plait::inline v0_1::cuda {
namespace by_mma {
namespace {

/// Writes this warp's 16 rows of 64 from `first` on; row i of them times factor[i / 8].
template <int D>
__device__ __forceinline__ void write_rows(bf16* to, index step, index first, index count, int width, const float (&o)[D / 8][4],
                                           const float (&factor)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const index row = first + warp * 16 + lane / 4 + half * 8;
    if (row >= count) continue;
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      const int c = d * 8 + lane % 4 * 2;
      if (c < width)
        *reinterpret_cast<unsigned*>(to + row * step + c) = ptx::pack_bf16(o[d][half * 2] * factor[half], o[d][half * 2 + 1] * factor[half]);
    }
  }
}

template <int D, int V>
__global__ void __launch_bounds__(threads) forward_kernel(attention_shape s, const bf16* q, const bf16* k, const bf16* v,
                                                          const int* segments, float scale, bf16* out, float* lse) {
  extern __shared__ uint4 raw[];
  __shared__ key_range range[tile];
  const tiles<D, V, false> in{ptx::shared_address(raw)};
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const index h = blockIdx.y, b = blockIdx.z, hk = h / s.group;
  const index first = static_cast<index>(gridDim.x - 1 - blockIdx.x) * tile;  // the longest first
  start_copy(in.first(), q + s.q_at(b, 0, h), s.q_step(), first, s.queries, s.width);
  const tile_range seen = ranges_of<tile>(s, segments, b, first, range);
  const int begin = seen.low / tile * tile;
  const bf16 *keys = k + s.k_at(b, 0, hk), *values = v + s.v_at(b, 0, hk);
  if (begin < seen.high) {
    start_copy(in.wide(0), keys, s.k_step(), begin, s.keys, s.width);
    start_copy(in.narrow(0), values, s.v_step(), begin, s.keys, s.value_width);
  }
  ptx::end_copies();
  const key_range seen_by[2] = {range[warp * 16 + lane / 4], range[warp * 16 + lane / 4 + 8]};
  float o[V / 8][4] = {}, largest[2] = {-INFINITY, -INFINITY}, total[2] = {};
  const float factor = scale * log2_e;
  int stage = 0;
  for (int key = begin; key < seen.high; key += tile, stage ^= 1) {
    if (key + tile < seen.high) {
      start_copy(in.wide(stage ^ 1), keys, s.k_step(), key + tile, s.keys, s.width);
      start_copy(in.narrow(stage ^ 1), values, s.v_step(), key + tile, s.keys, s.value_width);
    }
    ptx::end_copies();
    ptx::await_copies<1>();
    __syncthreads();
    float c[8][4];
    multiply_rows<8, D>(c, in.first(), warp * 16, in.wide(stage), 0);
    const bool full = key >= seen.full_low && key + tile <= seen.full_high;
    soften(c, seen_by, full, key, factor, largest, total, o);
    multiply_add<8, V>(o, c, in.narrow(stage), 0);
    __syncthreads();
  }
  ptx::await_copies<0>();
  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    total[half] = over_4(total[half], plus{});
    const bool sees = total[half] != 0.0f;  // a NaN stays one
    inverse[half] = sees ? 1.0f / total[half] : 0.0f;
    const index row = first + warp * 16 + lane / 4 + half * 8;
    if (lse != nullptr && lane % 4 == 0 && row < s.queries)
      lse[(b * s.heads + h) * s.queries + row] = sees ? largest[half] / log2_e + logf(total[half]) : -INFINITY;
  }
  write_rows<V>(out + s.out_at(b, 0, h), s.out_step(), first, s.queries, s.value_width, o, inverse);
}

template <int D, int V>
__global__ void __launch_bounds__(threads)
    query_gradient_kernel(attention_shape s, const bf16* q, const bf16* k, const bf16* v, const int* segments, float scale,
                          gradient_inputs rows, const bf16* dout, bf16* dq) {
  extern __shared__ uint4 raw[];
  __shared__ key_range range[tile];
  const tiles<D, V, true> in{ptx::shared_address(raw)};
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const index h = blockIdx.y, b = blockIdx.z, hk = h / s.group;
  const index first = static_cast<index>(gridDim.x - 1 - blockIdx.x) * tile;
  start_copy(in.first(), q + s.q_at(b, 0, h), s.q_step(), first, s.queries, s.width);
  start_copy(in.second(), dout + s.out_at(b, 0, h), s.out_step(), first, s.queries, s.value_width);
  const tile_range seen = ranges_of<tile>(s, segments, b, first, range);
  const int begin = seen.low / tile * tile;
  const bf16 *keys = k + s.k_at(b, 0, hk), *values = v + s.v_at(b, 0, hk);
  if (begin < seen.high) {
    start_copy(in.wide(0), keys, s.k_step(), begin, s.keys, s.width);
    start_copy(in.narrow(0), values, s.v_step(), begin, s.keys, s.value_width);
  }
  ptx::end_copies();
  float lse[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const index row = first + warp * 16 + lane / 4 + half * 8, at = (b * s.heads + h) * s.queries + row;
    lse[half] = row < s.queries ? rows.lse[at] * log2_e : 0.0f;
    delta[half] = row < s.queries ? rows.delta[at] : 0.0f;
  }
  float o[D / 8][4] = {};
  const float factor = scale * log2_e;
  int stage = 0;
  for (int key = begin; key < seen.high; key += tile, stage ^= 1) {
    if (key + tile < seen.high) {
      start_copy(in.wide(stage ^ 1), keys, s.k_step(), key + tile, s.keys, s.width);
      start_copy(in.narrow(stage ^ 1), values, s.v_step(), key + tile, s.keys, s.value_width);
    }
    ptx::end_copies();
    ptx::await_copies<1>();
    __syncthreads();
    const bool full = key >= seen.full_low && key + tile <= seen.full_high;
#pragma unroll 1
    for (int part = 0; part < tile; part += 32) {
      float c[4][4], g[4][4];
      multiply_rows<4, D>(c, in.first(), warp * 16, in.wide(stage), part);
      multiply_rows<4, V>(g, in.second(), warp * 16, in.narrow(stage), part);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const key_range r = range[warp * 16 + lane / 4 + half * 8];
#pragma unroll
        for (int n = 0; n < 4; ++n)
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            float& x = c[n][half * 2 + i];
            const int at = key + part + n * 8 + lane % 4 * 2 + i;
            const bool visible = full || (at >= r.from && at < r.to);
            x = visible ? exp2f(x * factor - lse[half]) * (g[n][half * 2 + i] - delta[half]) * scale : 0.0f;
          }
      }
      multiply_add<4, D>(o, c, in.wide(stage), part);
    }
    __syncthreads();
  }
  ptx::await_copies<0>();
  const float one[2] = {1.0f, 1.0f};
  write_rows<D>(dq + s.q_at(b, 0, h), s.q_step(), first, s.queries, s.width, o, one);
}

/// Rows are keys here: products come out transposed. Sums for keys, values or both: for wide heads both are too many registers.
template <int D, int V, bool Keys, bool Values>
__global__ void __launch_bounds__(threads, 2)
    key_gradient_kernel(attention_shape s, const bf16* q, const bf16* k, const bf16* v, const int* segments, float scale,
                        gradient_inputs rows, const bf16* dout, bf16* dk, bf16* dv) {
  extern __shared__ uint4 raw[];
  __shared__ key_range range[tile];
  __shared__ float lse[tile], delta[tile];
  const tiles<D, V, Keys> in{ptx::shared_address(raw)};
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const index hk = blockIdx.y, b = blockIdx.z;
  const int key = static_cast<int>(blockIdx.x) * tile;
  start_copy(in.first(), k + s.k_at(b, 0, hk), s.k_step(), key, s.keys, s.width);
  if constexpr (Keys) start_copy(in.second(), v + s.v_at(b, 0, hk), s.v_step(), key, s.keys, s.value_width);
  float gk[Keys ? D / 8 : 1][4] = {}, gv[Values ? V / 8 : 1][4] = {};
  // Query i stands at key i + keys - queries: earlier ones see none of these keys.
  index start = key - (s.keys - s.queries);
  start = start < 0 ? 0 : start / tile * tile;
  const index blocks = start < s.queries ? (s.queries - start + tile - 1) / tile : 0, turns = blocks * s.group;
  const auto copy_turn = [&](index turn, int stage) {  // heads of the group are the inner loop
    const index h = hk * s.group + turn % s.group, first = start + turn / s.group * tile;
    start_copy(in.wide(stage), q + s.q_at(b, 0, h), s.q_step(), first, s.queries, s.width);
    start_copy(in.narrow(stage), dout + s.out_at(b, 0, h), s.out_step(), first, s.queries, s.value_width);
  };
  if (turns > 0) copy_turn(0, 0);
  ptx::end_copies();
  const float factor = scale * log2_e;
  tile_range seen{};
  int stage = 0;
  for (index turn = 0; turn < turns; ++turn, stage ^= 1) {
    if (turn + 1 < turns) copy_turn(turn + 1, stage ^ 1);
    ptx::end_copies();
    const index h = hk * s.group + turn % s.group, first = start + turn / s.group * tile;
    if (turn % s.group == 0) seen = ranges_of<tile>(s, segments, b, first, range);
    if (threadIdx.x < tile) {
      const index row = first + threadIdx.x, at = (b * s.heads + h) * s.queries + row;
      lse[threadIdx.x] = row < s.queries ? rows.lse[at] * log2_e : 0.0f;
      delta[threadIdx.x] = row < s.queries ? rows.delta[at] : 0.0f;
    }
    ptx::await_copies<1>();
    __syncthreads();
    if (seen.low < key + tile && seen.high > key) {  // the same for all threads
      const bool full = key >= seen.full_low && key + tile <= seen.full_high;
#pragma unroll 1
      for (int part = 0; part < tile; part += 32) {
        float c[4][4], g[4][4];
        multiply_rows<4, D>(c, in.first(), warp * 16, in.wide(stage), part);
        if constexpr (Keys) multiply_rows<4, V>(g, in.second(), warp * 16, in.narrow(stage), part);
#pragma unroll
        for (int n = 0; n < 4; ++n)
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const int row = part + n * 8 + lane % 4 * 2 + i;  // of the tile of queries
            const key_range r = range[row];
            const float sum = lse[row], d = delta[row];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              const int at = key + warp * 16 + lane / 4 + half * 8;
              const bool visible = full || (at >= r.from && at < r.to);
              const float p = visible ? exp2f(c[n][half * 2 + i] * factor - sum) : 0.0f;
              c[n][half * 2 + i] = p;
              if constexpr (Keys) g[n][half * 2 + i] = visible ? p * (g[n][half * 2 + i] - d) * scale : 0.0f;
            }
          }
        if constexpr (Values) multiply_add<4, V>(gv, c, in.narrow(stage), part);
        if constexpr (Keys) multiply_add<4, D>(gk, g, in.wide(stage), part);
      }
    }
    __syncthreads();
  }
  ptx::await_copies<0>();
  const float one[2] = {1.0f, 1.0f};
  if constexpr (Keys)
    if (dk != nullptr) write_rows<D>(dk + s.k_at(b, 0, hk), s.k_step(), key, s.keys, s.width, gk, one);
  if constexpr (Values)
    if (dv != nullptr) write_rows<V>(dv + s.v_at(b, 0, hk), s.v_step(), key, s.keys, s.value_width, gv, one);
}

}  // namespace
}  // namespace by_mma

bool mma_attention(queue& on, const attention_shape& s, const view& q, const view& k, const view& v, const int* segments, float scale,
                   const view& out, float* lse) {
  using namespace by_mma;
  if (!fits(on, s, q, k, v)) return false;
  with_width(s, [&](auto d, auto w) {
    constexpr int D = decltype(d)::value, V = decltype(w)::value;
    constexpr std::size_t shared = tiles<D, V, false>::bytes;
    allow_shared(forward_kernel<D, V>, shared, "attention");
    forward_kernel<D, V><<<s.grid(s.queries, tile, s.heads), threads, shared, on.stream>>>(
        s, q.as<const bf16>(), k.as<const bf16>(), v.as<const bf16>(), segments, scale, out.as<bf16>(), lse);
    launched("attention");
  });
  return true;
}

bool mma_attention_gradient(queue& on, const attention_shape& s, const view& q, const view& k, const view& v, const int* segments,
                            float scale, const gradient_inputs& in, const view& dout, const view& dq, const view& dk, const view& dv) {
  using namespace by_mma;
  if (!fits(on, s, q, k, v) || !aligned16(dout.as<char>())) return false;
  with_width(s, [&](auto d, auto w) {
    constexpr int D = decltype(d)::value, V = decltype(w)::value;
    if (dq) {
      constexpr std::size_t shared = tiles<D, V, true>::bytes;
      allow_shared(query_gradient_kernel<D, V>, shared, "attention_gradient");
      query_gradient_kernel<D, V><<<s.grid(s.queries, tile, s.heads), threads, shared, on.stream>>>(
          s, q.as<const bf16>(), k.as<const bf16>(), v.as<const bf16>(), segments, scale, in, dout.as<const bf16>(), dq.as<bf16>());
      launched("attention_gradient");
    }
    const auto of_keys = [&](auto keys, auto values) {
      constexpr bool Keys = decltype(keys)::value, Values = decltype(values)::value;
      constexpr std::size_t shared = tiles<D, V, Keys>::bytes;
      allow_shared(key_gradient_kernel<D, V, Keys, Values>, shared, "attention_gradient");
      key_gradient_kernel<D, V, Keys, Values><<<s.grid(s.keys, tile, s.key_heads), threads, shared, on.stream>>>(
          s, q.as<const bf16>(), k.as<const bf16>(), v.as<const bf16>(), segments, scale, in, dout.as<const bf16>(), dk.as<bf16>(),
          dv.as<bf16>());
      launched("attention_gradient");
    };
    if constexpr (D + V <= 256) {
      if (dk || dv) of_keys(std::true_type{}, std::true_type{});
    } else {
      if (dk) of_keys(std::true_type{}, std::false_type{});
      if (dv) of_keys(std::false_type{}, std::true_type{});
    }
  });
  return true;
}

}  // namespace plait::inline v0_1::cuda
