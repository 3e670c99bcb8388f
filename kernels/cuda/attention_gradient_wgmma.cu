// Gradients of attention in bf16 on Hopper, for the widths of attention_wgmma.cu: two passes, one a tile of queries, one a tile of keys, so
// that every sum has one owner and a fixed order. Scores are computed again in each; probabilities and the scores' gradients are rounded to
// bf16 before they meet queries, keys and values. After FlashAttention (arXiv 2205.14135, 2407.08608).
#include <algorithm>

#include "plait/kernels/cuda/attention_wgmma.cuh"

namespace plait::inline v0_1::cuda {
namespace on_hopper {
namespace {

// --- gradient of the queries: 128 of them against tiles of keys -----------------------------------------------------------------------

inline constexpr int query_stages = 2;
/// Keys in a tile: as many as registers hold beside the sums of D columns.
template <int D>
inline constexpr int query_keys = D > 128 ? 112 : 128;
template <int D, int V>
inline constexpr std::size_t query_shared = slack + tile<tile_rows, D>::bytes + tile<tile_rows, V>::bytes +
                                            query_stages * (tile<query_keys<D>, D>::bytes + tile<query_keys<D>, V>::bytes);

template <int D, int V>
__global__ void __launch_bounds__(threads, 1)
    query_gradient_kernel(const __grid_constant__ tensor_maps maps, attention_shape s, const int* segments, float scale, gradient_inputs in) {
  constexpr int R = query_keys<D>;
  using block = tile<tile_rows, D>;
  using key_block = tile<R, D>;
  using value_block = tile<R, V>;
  extern __shared__ uint4 raw[];
  __shared__ key_range range[tile_rows];
  __shared__ std::uint64_t query_full, full[query_stages], empty[query_stages];
  const std::uint32_t base = tiles_begin(raw);
  const block queries{base};
  const tile<tile_rows, V> douts{base + block::bytes};
  const auto key_tile = [&](int stage) { return key_block{douts.base + douts.bytes + stage * (key_block::bytes + value_block::bytes)}; };
  const auto value_tile = [&](int stage) { return value_block{key_tile(stage).base + key_block::bytes}; };
  const int h = static_cast<int>(blockIdx.y), b = static_cast<int>(blockIdx.z), hk = h / static_cast<int>(s.group);
  const index first = static_cast<index>(gridDim.x - 1 - blockIdx.x) * tile_rows;
  if (threadIdx.x == 0) {
    ptx::barrier_init(ptx::shared_address(&query_full), 1);
    for (int i = 0; i < query_stages; ++i) {
      ptx::barrier_init(ptx::shared_address(&full[i]), 1);
      ptx::barrier_init(ptx::shared_address(&empty[i]), math_warps);
    }
    ptx::barrier_init_fence();
  }
  const tile_range seen = ranges_of<tile_rows>(s, segments, b, first, range);
  const int begin = seen.low / R * R;

  if (threadIdx.x < 128) {
    ptx::registers_shrink<24>();
    if (threadIdx.x != 0) return;
    const std::uint32_t ready = ptx::shared_address(&query_full);
    ptx::barrier_arrive_expect(ready, block::bytes + douts.bytes);
    queries.load(maps.q, ready, h * D, static_cast<int>(first), b);
    douts.load(maps.dout, ready, h * V, static_cast<int>(first), b);
    ring<query_stages> at;
    for (int key = begin; key < seen.high; key += R, at.next()) {
      ptx::barrier_wait(ptx::shared_address(&empty[at.stage]), at.phase ^ 1);
      const std::uint32_t barrier = ptx::shared_address(&full[at.stage]);
      ptx::barrier_arrive_expect(barrier, key_block::bytes + value_block::bytes);
      key_tile(at.stage).load(maps.k, barrier, hk * D, key, b);
      value_tile(at.stage).load(maps.v, barrier, hk * V, key, b);
    }
    return;
  }
  ptx::registers_grow<240>();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const int warpgroup = static_cast<int>(threadIdx.x) / 128 - 1, row = warpgroup * 64 + warp * 16 + lane / 4;
  const key_range mine[2] = {range[row], range[row + 8]};
  float sum[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const index query = first + row + half * 8, at = (b * s.heads + h) * s.queries + query;
    sum[half] = query < s.queries ? in.lse[at] * log2_e : 0.0f;
    delta[half] = query < s.queries ? in.delta[at] : 0.0f;
  }
  const float factor = scale * log2_e;
  sums<D> o;
#pragma unroll
  for (float& x : o) x = 0;
  ptx::barrier_wait(ptx::shared_address(&query_full), 0);
  rounded_sums<R> d;
  ring<query_stages> at;
  int previous = -1;
  for (int key = begin; key < seen.high; key += R) {
    sums<R> c, e;
    ptx::barrier_wait(ptx::shared_address(&full[at.stage]), at.phase);
    wgmma::fence();
    multiply_rows<R>(c, queries, warpgroup * 64, key_tile(at.stage));
    wgmma::commit();
    wgmma::wait<1>();  // the product of the tile before: its registers are needed
    if (previous >= 0 && lane == 0) ptx::barrier_arrive(ptx::shared_address(&empty[previous]));
    wgmma::fence();
    multiply_rows<R>(e, douts, warpgroup * 64, value_tile(at.stage));
    wgmma::commit();
    wgmma::wait<1>();
#pragma unroll
    for (int i = 0; i < R / 2; ++i) c[i] = power_of_2(c[i] * factor - sum[i / 2 % 2]);
    if (key < seen.full_low || key + R > seen.full_high) mask<R>(c, mine, key, 0.0f);
    wgmma::wait<0>();
#pragma unroll
    for (int i = 0; i < R / 2; ++i) c[i] *= e[i] - delta[i / 2 % 2];
    round_sums<R>(c, d);
    wgmma::fence();
    multiply_add<R, D>(o, d, key_tile(at.stage));
    wgmma::commit();
    previous = at.stage;
    at.next();
  }
  wgmma::wait<0>();
  const float by[2] = {scale, scale};
  write_rows(maps.out, queries, warpgroup, o, by, h * D, first, s.queries, b);
}

// --- gradients of keys and values: 128 of them against tiles of queries, of all heads that use them --------------------------------------

/// Queries in a tile (more would serialise or spill: sums of D + V columns stay in registers), and how many tiles there is room for.
template <int D>
inline constexpr int key_queries = D > 128 ? 64 : 96;
template <int D, int V>
inline constexpr std::size_t key_stage_bytes = tile<key_queries<D>, D>::bytes + tile<key_queries<D>, V>::bytes;
template <int D, int V>
inline constexpr int key_stages = std::min<int>(4, (220 * 1024 - tile<tile_rows, D>::bytes - tile<tile_rows, V>::bytes) / key_stage_bytes<D, V>);
template <int D, int V>
inline constexpr std::size_t key_shared = slack + tile<tile_rows, D>::bytes + tile<tile_rows, V>::bytes + key_stages<D, V> * key_stage_bytes<D, V>;

/// What goes with a tile of R queries.
template <int R>
struct query_notes {
  float lse[R], delta[R];
  key_range range[R];
  int whole, last;  // every query sees every key of the block; no tile: the end
};

template <int D, int V>
__global__ void __launch_bounds__(threads, 1)
    key_gradient_kernel(const __grid_constant__ tensor_maps maps, attention_shape s, const int* segments, float scale, gradient_inputs in,
                        bool write_keys, bool write_values) {
  constexpr int R = key_queries<D>, stages = key_stages<D, V>, per_lane = (R + 31) / 32;
  using query_block = tile<R, D>;
  using dout_block = tile<R, V>;
  extern __shared__ uint4 raw[];
  __shared__ query_notes<R> notes[stages];
  __shared__ std::uint64_t key_full, full[stages], empty[stages];
  const std::uint32_t base = tiles_begin(raw);
  const tile<tile_rows, D> keys{base};
  const tile<tile_rows, V> values{base + keys.bytes};
  const auto query_tile = [&](int stage) { return query_block{values.base + values.bytes + stage * (query_block::bytes + dout_block::bytes)}; };
  const auto dout_tile = [&](int stage) { return dout_block{query_tile(stage).base + query_block::bytes}; };
  const int hk = static_cast<int>(blockIdx.x % s.key_heads), b = static_cast<int>(blockIdx.x / s.key_heads);
  const int key = static_cast<int>(blockIdx.y) * tile_rows;  // the first keys, which most queries see, come first
  if (threadIdx.x == 0) {
    ptx::barrier_init(ptx::shared_address(&key_full), 1);
    for (int i = 0; i < stages; ++i) {
      ptx::barrier_init(ptx::shared_address(&full[i]), 32);
      ptx::barrier_init(ptx::shared_address(&empty[i]), math_warps);
    }
    ptx::barrier_init_fence();
  }
  __syncthreads();

  if (threadIdx.x < 128) {
    ptx::registers_shrink<24>();
    if (threadIdx.x >= 32) return;
    const int lane = static_cast<int>(threadIdx.x);
    if (lane == 0) {
      const std::uint32_t ready = ptx::shared_address(&key_full);
      ptx::barrier_arrive_expect(ready, keys.bytes + values.bytes);
      keys.load(maps.k, ready, hk * D, key, b);
      values.load(maps.v, ready, hk * V, key, b);
    }
    // Query i stands at key i + keys - queries: earlier ones see none of these keys.
    index start = key - (s.keys - s.queries);
    start = start < 0 ? 0 : start / R * R;
    ring<stages> at;
    for (index first = start; first < s.queries; first += R) {
      key_range mine[per_lane];
      int low = 0x7fffffff, high = 0, full_low = 0, full_high = 0x7fffffff;
#pragma unroll
      for (int i = 0; i < per_lane; ++i) {
        mine[i] = {0, 0};
        if (i * 32 + lane >= R) continue;
        const index query = first + i * 32 + lane;
        mine[i] = range_of(s, segments, b, query);
        if (query < s.queries) full_low = max(full_low, mine[i].from), full_high = min(full_high, mine[i].to);
        if (mine[i].from < mine[i].to) low = min(low, mine[i].from), high = max(high, mine[i].to);
      }
      low = __reduce_min_sync(~0u, low), high = __reduce_max_sync(~0u, high);
      full_low = __reduce_max_sync(~0u, full_low), full_high = __reduce_min_sync(~0u, full_high);
      if (low >= key + tile_rows || high <= key) continue;
      const bool whole = key >= full_low && key + tile_rows <= full_high;
      for (index h = hk * s.group; h < (hk + 1) * s.group; ++h, at.next()) {
        float sum[per_lane], delta[per_lane];
#pragma unroll
        for (int i = 0; i < per_lane; ++i) {
          const index query = first + i * 32 + lane, from = (b * s.heads + h) * s.queries + query;
          sum[i] = query < s.queries ? in.lse[from] * log2_e : 0.0f;
          delta[i] = query < s.queries ? in.delta[from] : 0.0f;
        }
        ptx::barrier_wait(ptx::shared_address(&empty[at.stage]), at.phase ^ 1);
        query_notes<R>& to = notes[at.stage];
#pragma unroll
        for (int i = 0; i < per_lane; ++i) {
          if (i * 32 + lane >= R) continue;
          to.lse[i * 32 + lane] = sum[i];
          to.delta[i * 32 + lane] = delta[i];
          to.range[i * 32 + lane] = mine[i];
        }
        const std::uint32_t barrier = ptx::shared_address(&full[at.stage]);
        if (lane == 0) {
          to.whole = whole, to.last = 0;
          ptx::barrier_arrive_expect(barrier, query_block::bytes + dout_block::bytes);
          query_tile(at.stage).load(maps.q, barrier, static_cast<int>(h) * D, static_cast<int>(first), b);
          dout_tile(at.stage).load(maps.dout, barrier, static_cast<int>(h) * V, static_cast<int>(first), b);
        } else {
          ptx::barrier_arrive(barrier);
        }
      }
    }
    ptx::barrier_wait(ptx::shared_address(&empty[at.stage]), at.phase ^ 1);
    if (lane == 0) notes[at.stage].last = 1;
    ptx::barrier_arrive(ptx::shared_address(&full[at.stage]));
    return;
  }
  ptx::registers_grow<240>();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const int warpgroup = static_cast<int>(threadIdx.x) / 128 - 1;
  const int mine = key + warpgroup * 64 + warp * 16 + lane / 4;  // this thread's keys: this one and the eighth after it
  const float factor = scale * log2_e;
  sums<D> gk;
  sums<V> gv;
#pragma unroll
  for (float& x : gk) x = 0;
#pragma unroll
  for (float& x : gv) x = 0;
  rounded_sums<R> p, d;
  ring<stages> at;
  ptx::barrier_wait(ptx::shared_address(&key_full), 0);
  while (true) {
    ptx::barrier_wait(ptx::shared_address(&full[at.stage]), at.phase);
    const query_notes<R>& note = notes[at.stage];
    if (note.last != 0) break;
    // Scores, and after them their gradients, take the same registers. While one warpgroup rounds, the other multiplies.
    sums<R> c;
    wgmma::fence();
    multiply_rows<R>(c, keys, warpgroup * 64, query_tile(at.stage));
    wgmma::commit();
    wgmma::wait<0>();
#pragma unroll
    for (int n = 0; n < R / 8; ++n) {
      const float2 sum = *reinterpret_cast<const float2*>(&note.lse[n * 8 + lane % 4 * 2]);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        c[4 * n + 2 * half] = power_of_2(c[4 * n + 2 * half] * factor - sum.x);
        c[4 * n + 2 * half + 1] = power_of_2(c[4 * n + 2 * half + 1] * factor - sum.y);
      }
    }
    if (note.whole == 0) {
#pragma unroll
      for (int n = 0; n < R / 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const key_range r = note.range[n * 8 + lane % 4 * 2 + i];
          if (mine < r.from || mine >= r.to) c[4 * n + i] = 0;
          if (mine + 8 < r.from || mine + 8 >= r.to) c[4 * n + 2 + i] = 0;
        }
    }
    round_sums<R>(c, p);
    wgmma::fence();
    multiply_rows<R>(c, values, warpgroup * 64, dout_tile(at.stage));
    wgmma::commit();
    multiply_add<R, V>(gv, p, dout_tile(at.stage));
    wgmma::commit();
    wgmma::wait<1>();
#pragma unroll
    for (int n = 0; n < R / 8; ++n) {
      const float2 delta = *reinterpret_cast<const float2*>(&note.delta[n * 8 + lane % 4 * 2]);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 probability = ptx::unpack_bf16(p[2 * n + half]);
        d[2 * n + half] = ptx::pack_bf16(probability.x * (c[4 * n + 2 * half] - delta.x), probability.y * (c[4 * n + 2 * half + 1] - delta.y));
      }
    }
    wgmma::fence();
    multiply_add<R, D>(gk, d, query_tile(at.stage));
    wgmma::commit();
    wgmma::wait<0>();
    if (lane == 0) ptx::barrier_arrive(ptx::shared_address(&empty[at.stage]));
    at.next();
  }
  const float one[2] = {1.0f, 1.0f}, by[2] = {scale, scale};
  if (write_keys) write_rows(maps.out, keys, warpgroup, gk, by, hk * D, key, s.keys, b);
  if (write_values) write_rows(maps.out2, values, warpgroup, gv, one, hk * V, key, s.keys, b);
}

}  // namespace
}  // namespace on_hopper

bool wgmma_attention_gradient(queue& on, const attention_shape& s, const view& q, const view& k, const view& v, const int* segments,
                              float scale, const gradient_inputs& in, const view& dout, const view& dq, const view& dk, const view& dv) {
  using namespace on_hopper;
  if (!fits(on, s, scale, {q, k, v, dout, dq, dk, dv})) return false;
  return with_widths(s, [&]<int D, int V>() {
    if (dq) {
      const tensor_maps maps{map_of(q, tile_rows),    map_of(k, query_keys<D>), map_of(v, query_keys<D>),
                             map_of(dout, tile_rows), map_of(dq, 64),           {}};
      allow_shared(query_gradient_kernel<D, V>, query_shared<D, V>, "attention_gradient");
      query_gradient_kernel<D, V><<<s.grid(s.queries, tile_rows, s.heads), threads, query_shared<D, V>, on.stream>>>(maps, s, segments, scale, in);
      launched("attention_gradient");
    }
    if (dk || dv) {
      const tensor_maps maps{map_of(q, key_queries<D>),    map_of(k, tile_rows), map_of(v, tile_rows),
                             map_of(dout, key_queries<D>), map_of(dk, 64),       map_of(dv, 64)};
      allow_shared(key_gradient_kernel<D, V>, key_shared<D, V>, "attention_gradient");
      const dim3 grid(static_cast<unsigned>(s.key_heads * s.batch), blocks_for(s.keys, tile_rows, most_blocks));
      key_gradient_kernel<D, V><<<grid, threads, key_shared<D, V>, on.stream>>>(maps, s, segments, scale, in, bool(dk), bool(dv));
      launched("attention_gradient");
    }
  });
}

}  // namespace plait::inline v0_1::cuda
