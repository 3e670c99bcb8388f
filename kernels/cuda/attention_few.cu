// Attention of few queries over many keys in bf16, as generation has it: bound by the memory that keys and values come from. The query heads
// that share a key head are rows of one tile, so keys are read once for all of them; the keys are cut among blocks, and in a block among its
// warps, whose sums are put together at the end in a fixed order. After Flash-Decoding (Dao and others, 2023).
#include "plait/kernels/cuda/attention_mma.cuh"

namespace plait::inline v0_1::cuda {
namespace by_mma {
namespace {

inline constexpr int few_rows = 16, most_rows = 64, most_splits = threads;

/// What the blocks leave for `join_kernel`: by split and row (b * queries + i) * heads + h, sums [value width], largest score and total.
struct partial {
  float *sums, *largest, *total;
  index rows;
  int splits;
};

template <int D, int V>
inline constexpr std::size_t few_shared = few_rows * D * 2 + 2 * (tile_at<D>::bytes + tile_at<V>::bytes);

/// blockIdx: x the split, y key head and 16 of its rows (query i, head of the group), z the batch row.
template <int D, int V>
__global__ void __launch_bounds__(threads) few_kernel(attention_shape s, const bf16* q, const bf16* k, const bf16* v, const int* segments,
                                                      float scale, bf16* out, float* lse, partial to) {
  extern __shared__ uint4 raw[];
  __shared__ float largest_of[4][few_rows], total_of[4][few_rows];
  const unsigned base = ptx::shared_address(raw);
  const tile_at<D> queries{base};
  const auto key_tile = [&](int stage) { return tile_at<D>{base + few_rows * D * 2 + stage * (tile_at<D>::bytes + tile_at<V>::bytes)}; };
  const auto value_tile = [&](int stage) { return tile_at<V>{key_tile(stage).base + tile_at<D>::bytes}; };
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const index hk = blockIdx.y % s.key_heads, first = blockIdx.y / s.key_heads * few_rows, b = blockIdx.z, rows = s.queries * s.group;
  const auto query_of = [&](index row) { return row / s.group; };
  const auto head_of = [&](index row) { return hk * s.group + row % s.group; };
  for (int i = static_cast<int>(threadIdx.x); i < few_rows * (D / 8); i += threads) {
    const int r = i / (D / 8), c = i % (D / 8);
    const index row = first + r;
    const bool here = row < rows && c * 8 < s.width;
    ptx::copy_16(queries.chunk(r, c), here ? q + s.q_at(b, query_of(row), head_of(row)) + c * 8 : q, here);
  }
  key_range seen[2];
  int low = 0x7fffffff, high = 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const index row = first + lane / 4 + half * 8;
    seen[half] = row < rows ? range_of(s, segments, b, query_of(row)) : key_range{0, 0};
    if (seen[half].from < seen[half].to) low = min(low, seen[half].from), high = max(high, seen[half].to);
  }
  low = __reduce_min_sync(~0u, low), high = __reduce_max_sync(~0u, high);
  const int aligned = low < high ? low / tile * tile : 0, count = low < high ? (high - aligned + tile - 1) / tile : 0;
  const int split = static_cast<int>(blockIdx.x), splits = to.splits;
  const int begin = aligned + static_cast<int>(static_cast<index>(count) * split / splits) * tile;
  const int end = aligned + static_cast<int>(static_cast<index>(count) * (split + 1) / splits) * tile;
  const bf16 *keys = k + s.k_at(b, 0, hk), *values = v + s.v_at(b, 0, hk);
  if (begin < end) {
    start_copy(key_tile(0), keys, s.k_step(), begin, s.keys, s.width);
    start_copy(value_tile(0), values, s.v_step(), begin, s.keys, s.value_width);
  }
  ptx::end_copies();
  float o[V / 8][4] = {}, largest[2] = {-INFINITY, -INFINITY}, total[2] = {};
  const float factor = scale * log2_e;
  int stage = 0;
  for (int key = begin; key < end; key += tile, stage ^= 1) {
    if (key + tile < end) {
      start_copy(key_tile(stage ^ 1), keys, s.k_step(), key + tile, s.keys, s.width);
      start_copy(value_tile(stage ^ 1), values, s.v_step(), key + tile, s.keys, s.value_width);
    }
    ptx::end_copies();
    ptx::await_copies<1>();
    __syncthreads();
    float c[2][4];
    multiply_rows<2, D>(c, queries, 0, key_tile(stage), warp * 16);
    soften(c, seen, false, key + warp * 16, factor, largest, total, o);
    multiply_add<2, V>(o, c, value_tile(stage), warp * 16);
    __syncthreads();
  }
  ptx::await_copies<0>();
  __syncthreads();  // the copies of queries too: their memory is written below

  float* const sums = reinterpret_cast<float*>(raw);  // [4 warps][16][V]
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = lane / 4 + half * 8;
    total[half] = over_4(total[half], plus{});
    if (lane % 4 == 0) largest_of[warp][r] = largest[half], total_of[warp][r] = total[half];
#pragma unroll
    for (int d = 0; d < V / 8; ++d)
      *reinterpret_cast<float2*>(sums + (warp * few_rows + r) * V + d * 8 + lane % 4 * 2) = float2{o[d][half * 2], o[d][half * 2 + 1]};
  }
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < few_rows * V; e += threads) {
    const int r = e / V, c = e % V;
    const index row = first + r;
    if (row >= rows || c >= s.value_width) continue;
    float most = -INFINITY, sum = 0, all = 0;
#pragma unroll
    for (int w = 0; w < 4; ++w) most = fmaxf(most, largest_of[w][r]);
    const float shift = most == -INFINITY ? 0.0f : most;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const float share = exp2f(largest_of[w][r] - shift);
      sum += sums[(w * few_rows + r) * V + c] * share;
      all += total_of[w][r] * share;
    }
    const index i = query_of(row), h = head_of(row);
    if (splits == 1) {
      out[s.out_at(b, i, h) + c] = convert<bf16>(all == 0.0f ? 0.0f : sum / all);
      if (lse != nullptr && c == 0) lse[(b * s.heads + h) * s.queries + i] = all == 0.0f ? -INFINITY : most / log2_e + logf(all);
    } else {
      const index at = split * to.rows + (b * s.queries + i) * s.heads + h;
      to.sums[at * s.value_width + c] = sum;
      if (c == 0) to.largest[at] = most, to.total[at] = all;
    }
  }
}

/// A block a row; a thread a split, then a column.
__global__ void __launch_bounds__(threads) join_kernel(attention_shape s, partial from, bf16* out, float* lse) {
  __shared__ float share[most_splits], largest_of[threads / 32], total_of[threads / 32];
  const index row = blockIdx.x;
  const int t = static_cast<int>(threadIdx.x);
  const bool here = t < from.splits;
  const float mine = here ? from.largest[t * from.rows + row] : -INFINITY, mine_total = here ? from.total[t * from.rows + row] : 0.0f;
  const float of_warp = over_warp(mine, larger{});
  if (t % 32 == 0) largest_of[t / 32] = of_warp;
  __syncthreads();
  float most = largest_of[0], all = 0, sum = 0;
#pragma unroll
  for (int w = 1; w < threads / 32; ++w) most = fmaxf(most, largest_of[w]);
  share[t] = exp2f(mine - (most == -INFINITY ? 0.0f : most));
  const float total = over_warp(mine_total * share[t], plus{});
  if (t % 32 == 0) total_of[t / 32] = total;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < threads / 32; ++w) all += total_of[w];
  if (t < s.value_width) {
    const float* const sums = from.sums + row * s.value_width + t;
#pragma unroll 16
    for (int i = 0; i < from.splits; ++i) sum += sums[i * from.rows * s.value_width] * share[i];
    out[row * s.value_width + t] = convert<bf16>(all == 0.0f ? 0.0f : sum / all);
  }
  const index h = row % s.heads, i = row / s.heads % s.queries, b = row / s.heads / s.queries;
  if (lse != nullptr && t == 0) lse[(b * s.heads + h) * s.queries + i] = all == 0.0f ? -INFINITY : most / log2_e + logf(all);
}

}  // namespace
}  // namespace by_mma

bool few_query_attention(queue& on, const attention_shape& s, const view& q, const view& k, const view& v, const int* segments, float scale,
                         const view& out, float* lse) {
  using namespace by_mma;
  const index rows = s.queries * s.group;
  if (rows > most_rows || s.queries >= 32 || !(scale > 0) || !fits(on, s, q, k, v)) return false;
  const index of_batch_row = s.key_heads * ((rows + few_rows - 1) / few_rows), tiles = (s.keys + tile - 1) / tile;
  if (of_batch_row > 65535 || s.batch > 65535) return false;
  // Three blocks a multiprocessor, two tiles or more a block.
  const index blocks = s.batch * of_batch_row, wanted = (3 * on.multiprocessors + blocks - 1) / blocks;
  const index most = tiles / 2 < most_splits ? tiles / 2 : most_splits;
  const int splits = static_cast<int>(wanted < most ? wanted : most < 1 ? 1 : most);
  const index all = s.batch * s.queries * s.heads;
  const auto floats = [&](index n) { return splits == 1 ? std::size_t{0} : sizeof(float) * static_cast<std::size_t>(n * splits * all); };
  const scratch sums(on, floats(s.value_width)), largest(on, floats(1)), total(on, floats(1));
  const partial to{sums.as<float>(), largest.as<float>(), total.as<float>(), all, splits};
  with_width(s, [&](auto d, auto w) {
    constexpr int D = decltype(d)::value, V = decltype(w)::value;
    allow_shared(few_kernel<D, V>, few_shared<D, V>, "attention");
    const dim3 grid(static_cast<unsigned>(splits), static_cast<unsigned>(of_batch_row), static_cast<unsigned>(s.batch));
    few_kernel<D, V><<<grid, threads, few_shared<D, V>, on.stream>>>(s, q.as<const bf16>(), k.as<const bf16>(), v.as<const bf16>(), segments,
                                                                     scale, out.as<bf16>(), lse, to);
    launched("attention");
    if (splits > 1) {
      join_kernel<<<static_cast<unsigned>(all), threads, 0, on.stream>>>(s, to, out.as<bf16>(), lse);
      launched("attention");
    }
  });
  return true;
}

}  // namespace plait::inline v0_1::cuda
