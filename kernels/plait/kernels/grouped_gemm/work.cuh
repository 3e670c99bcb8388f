#pragma once
// Cuts the experts' outputs into work items, one item a cluster, and walks them in an order kind to L2.
//
// With a cluster of two, an item is either a pair of row tiles over one column tile (B is shared) or a pair of column tiles over one
// row tile (A is shared). Full pairs of row tiles take the first form; what is left of an expert (less than 256 rows) takes the form
// that wastes least, at a granularity of 64 rows. Within an expert items go down the rows first, two column tiles at a time, so that
// everything that reads a piece of B is near in time.
#include "plait/kernels/grouped_gemm/config.cuh"
#include "plait/kernels/grouped_gemm/problem.cuh"
#include "plait/kernels/ptx.cuh"

namespace plait::inline v0_1::kernels::grouped_gemm {

struct tile {
  int expert;
  int row;          // this CTA's first row: in the whole of A and D (ragged rows), in the expert's D (ragged depth)
  int rows;         // rows to produce, 0 .. 128
  int load_rows;    // rows of A that any CTA sharing it needs
  int column;
  int first_depth;  // where the contraction starts in the operands
  int depth;
  bool share_a;     // cluster of two: A is common, otherwise B
};

template <class Config>
struct row_split {
  int pairs;    // items of Config::cluster row tiles
  int singles;  // row tiles spread over column pairs
  __device__ __forceinline__ explicit row_split(int rows) {
    if constexpr (Config::cluster == 1) {
      pairs = (rows + 127) / 128;
      singles = 0;
    } else {
      const int rest = rows % 256;
      const bool close = rest > 192;
      pairs = rows / 256 + (close ? 1 : 0);
      singles = close ? 0 : (rest + 127) / 128;
    }
  }
  __device__ __forceinline__ int items(int column_tiles) const {
    return pairs * column_tiles + singles * ((column_tiles + 1) / 2);
  }
};

// Row pairs walked together before the next column: 8 pairs x 8 columns of tiles make one wave of a 132-SM chip nearly square.
inline constexpr int raster_rows = 8;

template <class Config>
__device__ __forceinline__ int column_tiles_of(const problem& p) {
  return (p.columns + Config::columns - 1) / Config::columns;
}

// Ragged rows: fills table[0 .. experts] with the prefix sums of the experts' items; called by one warp.
template <class Config>
__device__ __forceinline__ void scan_items(const problem& p, int* table, int lane) {
  const int column_tiles = column_tiles_of<Config>(p);
  int base = 0;
  for (int start = 0; start < p.layout.experts; start += 32) {
    const int expert = start + lane;
    int sum = expert < p.layout.experts ? row_split<Config>(p.layout.rows(expert)).items(column_tiles) : 0;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, sum, distance);
      if (lane >= distance) sum += other;
    }
    if (expert < p.layout.experts) table[expert + 1] = base + sum;
    base += __shfl_sync(0xffffffffu, sum, 31);
  }
  if (lane == 0) table[0] = 0;
}

// Ragged depth: every expert has the same number of items, but they differ in length. Fills table[0 .. alive) with the experts by
// falling rows, so that the long items come first, and table[max_experts] with `alive`: experts without rows need nothing when
// accumulating. Called by all threads; `scratch` holds an int an expert.
template <class Config>
__device__ __forceinline__ void sort_experts(const problem& p, int* table, int* scratch, int thread) {
  const int experts = p.layout.experts;
  for (int expert = thread; expert < experts; expert += Config::threads) scratch[expert] = p.layout.rows(expert);
  if (thread == 0) table[expert_layout::max_experts] = experts;
  __syncthreads();
  for (int expert = thread; expert < experts; expert += Config::threads) {
    const int rows = scratch[expert];
    int rank = 0;
    for (int other = 0; other < experts; ++other) {
      const int theirs = scratch[other];
      rank += theirs > rows || (theirs == rows && other < expert) ? 1 : 0;
    }
    table[rank] = expert;
    if (p.accumulate && rows <= 0) atomicMin(&table[expert_layout::max_experts], rank);
  }
  ptx::fence_async_shared();  // the scratch becomes a stage
}

template <class Config>
__device__ __forceinline__ int items_of(const problem& p, const int* table) {
  if constexpr (Config::ragged_depth) {
    return table[expert_layout::max_experts] * row_split<Config>(p.rows).items(column_tiles_of<Config>(p));
  } else {
    return table[p.layout.experts];
  }
}

// The tile of work item `item`; `place`, where the search in the table stands, only moves forward.
template <class Config>
__device__ __forceinline__ tile locate(const problem& p, const int* table, int item, int& place, int rank) {
  const int column_tiles = column_tiles_of<Config>(p);
  int expert = 0;
  int index = 0;
  int extent = p.rows;
  if constexpr (Config::ragged_depth) {
    const int each = row_split<Config>(extent).items(column_tiles);
    expert = table[item / each];
    index = item % each;
  } else {
    while (item >= table[place + 1]) ++place;
    expert = place;
    index = item - table[place];
    extent = p.layout.rows(expert);
  }
  const row_split<Config> split(extent);
  // Chunks of raster_rows pairs of rows; the singles go with the last.
  const int chunk = min(index / (raster_rows * column_tiles), max(0, (split.pairs - 1) / raster_rows));
  index -= chunk * raster_rows * column_tiles;
  const int first_pair = chunk * raster_rows;
  const int height = min(raster_rows, split.pairs - first_pair);
  const int singles = first_pair + height == split.pairs ? split.singles : 0;
  const int group = index / (2 * height + singles);  // of two columns
  index -= group * (2 * height + singles);
  const int wide = min(2, column_tiles - 2 * group);
  tile t;
  t.expert = expert;
  if (index < wide * height) {
    const int second = index >= height ? 1 : 0;
    t.row = (first_pair + index - second * height) * (128 * Config::cluster) + rank * 128;
    t.column = (2 * group + second) * Config::columns;
    t.rows = max(0, min(128, extent - t.row));
    t.load_rows = t.rows;
    t.share_a = false;
  } else {
    index -= wide * height;
    t.row = split.pairs * (128 * Config::cluster) + index * 128;
    t.column = (2 * group + rank) * Config::columns;
    t.load_rows = min(128, extent - t.row);
    t.rows = t.column < p.columns ? t.load_rows : 0;
    t.share_a = true;
  }
  const int begin = p.layout.begin(expert);
  t.first_depth = Config::ragged_depth ? begin : 0;
  t.depth = Config::ragged_depth ? p.layout.rows(expert) : p.depth;
  t.row += Config::ragged_depth ? 0 : begin;
  return t;
}

}  // namespace plait::inline v0_1::kernels::grouped_gemm
