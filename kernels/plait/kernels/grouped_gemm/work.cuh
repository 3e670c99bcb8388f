#pragma once
// Cuts the experts' outputs into work items, one item a cluster, and walks them in an order kind to L2.
//
// With a cluster of two, an item is either a pair of row tiles over one column tile (B is shared) or a pair of column tiles over one
// row tile (A is shared). Full pairs of row tiles take the first form; what is left of an expert (less than 256 rows) takes the form
// that wastes least, at a granularity of 64 rows. Within an expert items go down the rows first, two column tiles at a time, so that
// everything that reads a piece of B is near in time.
//
// Where Config::exchanges, what is left is computed with the operands exchanged: the weight is the tensor cores' A, 128 of D's columns a
// CTA, and the expert's rows are B, in tiles of 8 to 192 rows, all of one width. So few rows are computed in vain, and a short rest is
// taken together with the last full pair, since each tile streams the weight from L2 once more.
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
  int width;        // exchanged tiles: rows of the expert that the tile spans, a multiple of 8; otherwise 0
  int turn;         // ragged depth, contraction cut: the segment, + 256 if it is the last
  int flag;         // and the word that passes the turn, or -1
};

template <class Config>
struct row_split {
  int pairs;      // items of Config::cluster row tiles
  int singles;    // row tiles spread over column pairs; where Config::exchanges exchanged tiles
  int width = 0;  // of the exchanged tiles
  __device__ __forceinline__ explicit row_split(int rows) {
    if constexpr (Config::exchanges) {
      pairs = rows / 256;
      singles = 0;
      int rest = rows % 256;
      if (rest > (pairs > 0 ? 224 : 192)) {
        ++pairs;
      } else if (rest > 0) {
        if (pairs > 0 && (rest <= 128 || rest > 192)) --pairs, rest += 256;  // narrow tiles are bound by L2
        singles = (rest + 191) / 192;
        width = ((rest + singles - 1) / singles + 7) / 8 * 8;
      }
    } else if constexpr (Config::cluster == 1) {
      pairs = (rows + 127) / 128;
      singles = 0;
    } else {
      const int rest = rows % 256;
      const bool close = rest > 192;
      pairs = rows / 256 + (close ? 1 : 0);
      singles = close ? 0 : (rest + 127) / 128;
    }
  }
  __device__ __forceinline__ int items(int columns) const {
    const int column_tiles = (columns + Config::columns - 1) / Config::columns;
    if constexpr (Config::exchanges) return pairs * column_tiles + singles * ((columns + 255) / 256);
    return pairs * column_tiles + singles * ((column_tiles + 1) / 2);
  }
};

// Row pairs walked together before the next column: chunks of about 4, of equal height.
inline constexpr int raster_rows = 4;

__device__ __forceinline__ int raster_height(int pairs) {
  const int chunks = max(1, (pairs + raster_rows / 2) / raster_rows);
  return max(1, (pairs + chunks - 1) / chunks);
}

template <class Config>
__device__ __forceinline__ int column_tiles_of(const problem& p) {
  return (p.columns + Config::columns - 1) / Config::columns;
}

// Ragged rows: fills table[0 .. experts] with the prefix sums of the experts' items; called by one warp.
template <class Config>
__device__ __forceinline__ void scan_items(const problem& p, int* table, int lane) {
  int base = 0;
  for (int start = 0; start < p.layout.experts; start += 32) {
    const int expert = start + lane;
    int sum = expert < p.layout.experts ? row_split<Config>(p.layout.rows(expert)).items(p.columns) : 0;
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

// Where a few experts hold most rows there are too few items, or too uneven ones, for all clusters: their contraction is cut into
// segments, which add to the tile in turn. The number of segments of the longest, 1 .. 32, is that of the least estimated time; a lane
// tries each. Called by one warp.
template <class Config>
__device__ __forceinline__ void cut_long_experts(const problem& p, control<Config>& shared, const int* rows_of, int lane) {
  const int each = row_split<Config>(p.rows).items(p.columns);
  const int clusters = static_cast<int>(gridDim.x) / Config::cluster;
  const int alive = shared.alive;
  int cut = 0;
  if (p.queue != nullptr && alive > 0 && each < 8 * clusters) {
    int total = 0;
    for (int expert = lane; expert < p.layout.experts; expert += 32) total += (rows_of[expert] + 63) / 64;
    total = __reduce_add_sync(0xffffffffu, total);  // all in blocks of 64
    const int longest = (rows_of[shared.table[0] & 0xffff] + 63) / 64;
    const auto ideal = static_cast<int>(min(static_cast<long long>(total) * each / clusters, 1ll << 26));
    if (longest * 8ll > ideal && longest >= 16) {
      const int length = (longest + lane) / (lane + 1);
      int items = 0;
      int experts_cut = 0;
      for (int place = 0; place < alive; ++place) {
        const int blocks = (rows_of[shared.table[place] & 0xffff] + 63) / 64;
        if (2 * blocks <= length) break;
        items += each * ((blocks + length - 1) / length);
        experts_cut += blocks > length ? 1 : 0;
      }
      const int waves = (items + clusters - 1) / clusters;
      const long long time = max(static_cast<long long>(ideal), static_cast<long long>(waves) * length) + 6 * lane;
      const bool allowed = lane == 0 || (length >= 8 && each * Config::cluster * experts_cut <= turn_words);
      const unsigned key = allowed ? static_cast<unsigned>(min(time, (1ll << 26) - 1)) * 32 + lane : 0xffffffffu;
      const int best = static_cast<int>(__reduce_min_sync(0xffffffffu, key)) & 31;
      cut = __shfl_sync(0xffffffffu, length, best);
    }
  }
  int items = 0;
  for (int place = lane; place < alive; place += 32) {
    const int expert = shared.table[place] & 0xffff;
    const int blocks = (rows_of[expert] + 63) / 64;
    const int segments = cut > 0 && blocks > cut ? (blocks + cut - 1) / cut : 1;
    shared.table[place] = expert + 65536 * segments;
    items += segments * each;
  }
  items = __reduce_add_sync(0xffffffffu, items);
  if (lane == 0) shared.items = items;
}

// Ragged depth: every expert has the same number of items, but they differ in length. Fills table[0 .. alive) with the experts by
// falling rows, so that the long items come first: expert + 65536 * segments. Experts without rows need nothing
// when accumulating. Called by all threads; `scratch` holds an int an expert.
template <class Config>
__device__ __forceinline__ void sort_experts(const problem& p, control<Config>& shared, int* scratch, int thread) {
  const int experts = p.layout.experts;
  for (int expert = thread; expert < experts; expert += Config::threads) scratch[expert] = p.layout.rows(expert);
  if (thread == 0) shared.alive = experts;
  __syncthreads();
  for (int expert = thread; expert < experts; expert += Config::threads) {
    const int rows = scratch[expert];
    int rank = 0;
    for (int other = 0; other < experts; ++other) {
      const int theirs = scratch[other];
      rank += theirs > rows || (theirs == rows && other < expert) ? 1 : 0;
    }
    shared.table[rank] = expert + 65536;
    if (p.accumulate && rows <= 0) atomicMin(&shared.alive, rank);
  }
  __syncthreads();
  if (thread < 32) cut_long_experts<Config>(p, shared, scratch, thread);
  ptx::fence_async_shared();  // the scratch becomes a stage
}

template <class Config>
__device__ __forceinline__ int items_of(const problem& p, const control<Config>& shared) {
  if constexpr (Config::ragged_depth) {
    return shared.items;
  } else {
    return shared.table[p.layout.experts];
  }
}

// A position in the table that only moves forward: the entry, and (ragged depth) the items before it.
struct stand {
  int place = 0;
  int before = 0;
};

// A chunk's item `index`: groups of 768 columns, in each four column tiles of pairs and then three of exchanged tiles, so that what reads
// a piece of the weight is near in time. Exchanged tiles go with the expert's last chunk.
template <class Config>
__device__ __forceinline__ void place_exchanging(tile& t, const row_split<Config>& split, int columns, int column_tiles, int first_pair,
                                                 int height, int extent, int index, int rank) {
  const int singles = first_pair + height == split.pairs ? split.singles : 0;
  const int group = index / (4 * height + 3 * singles);
  index -= group * (4 * height + 3 * singles);
  const int across = min(4, column_tiles - 4 * group);
  if (index < across * height) {
    const int two = index / (2 * height);  // columns
    index -= two * 2 * height;
    const int second = index >= height ? 1 : 0;
    t.row = (first_pair + index - second * height) * 256 + rank * 128;
    t.column = (4 * group + 2 * two + second) * Config::columns;
    t.rows = max(0, min(128, extent - t.row));
    t.load_rows = t.rows;
    t.share_a = false;
  } else {
    index -= across * height;
    t.row = split.pairs * 256 + index % singles * split.width;
    t.column = (3 * group + index / singles) * 256 + rank * 128;
    t.rows = t.column < columns ? min(split.width, extent - t.row) : 0;
    t.load_rows = 0;
    t.share_a = false;
    t.width = split.width;
  }
}

// The tile of work item `item`.
template <class Config>
__device__ __forceinline__ tile locate(const problem& p, const control<Config>& shared, int item, stand& at, int rank) {
  const int column_tiles = column_tiles_of<Config>(p);
  const int* table = shared.table;
  tile t;
  t.width = 0;
  t.turn = 0;
  t.flag = -1;
  t.first_depth = 0;
  t.depth = p.depth;
  int begin = 0;
  int index = 0;
  int extent = p.rows;
  if constexpr (Config::ragged_depth) {
    const int each = row_split<Config>(extent).items(p.columns);
    while (item >= at.before + (table[at.place] >> 16) * each) {
      at.before += (table[at.place] >> 16) * each;
      ++at.place;
    }
    const int segments = table[at.place] >> 16;
    const int segment = (item - at.before) / each;
    index = (item - at.before) % each;
    t.expert = table[at.place] & 0xffff;
    const int rows = p.layout.rows(t.expert);
    const int length = ((rows + 63) / 64 + segments - 1) / segments * 64;
    t.first_depth = p.layout.begin(t.expert) + segment * length;
    t.depth = min(length, rows - segment * length);
    if (segments > 1) {
      t.turn = segment + (segment == segments - 1 ? 256 : 0);
      t.flag = (at.place * each + index) * Config::cluster + rank;
    }
  } else {
    while (item >= table[at.place + 1]) ++at.place;
    t.expert = at.place;
    index = item - table[at.place];
    extent = p.layout.rows(t.expert);
    begin = p.layout.begin(t.expert);
  }
  const row_split<Config> split(extent);
  // Chunks of pairs of rows; the singles go with the last.
  const int most = raster_height(split.pairs);
  const int chunk = min(index / (most * column_tiles), max(0, (split.pairs - 1) / most));
  index -= chunk * most * column_tiles;
  const int first_pair = chunk * most;
  const int height = min(most, split.pairs - first_pair);
  if constexpr (Config::exchanges) {
    place_exchanging<Config>(t, split, p.columns, column_tiles, first_pair, height, extent, index, rank);
    t.row += begin;
    return t;
  }
  const int singles = first_pair + height == split.pairs ? split.singles : 0;
  const int group = index / (2 * height + singles);  // of two columns
  index -= group * (2 * height + singles);
  const int wide = min(2, column_tiles - 2 * group);
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
  t.row += begin;
  return t;
}

}  // namespace plait::inline v0_1::kernels::grouped_gemm
