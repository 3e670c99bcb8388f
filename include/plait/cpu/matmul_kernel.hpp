#pragma once
// The dense product on one thread: packed panels, a register tile, blocks of the summed dim in a fixed order.
// One output element is always the same sequence of multiply-adds, whatever rows or columns are asked for beside it.
#include "plait/cpu/matmul_pack.hpp"
#include "plait/cpu/workspace.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

#if defined(__clang__)
#define PLAIT_UNROLL _Pragma("unroll")
#define PLAIT_FULL_WIDTH __attribute__((min_vector_width(8 * vector_bytes)))  // else 512-bit vectors may be split in two
#else
#define PLAIT_UNROLL _Pragma("GCC unroll 16")
#define PLAIT_FULL_WIDTH
#endif

template <class S>
struct tiling {
  static constexpr int lanes = lanes_of<S>::count;
  static constexpr int rows = vector_bytes == 64 ? 12 : 6;  // of one register tile
  static constexpr int columns = 2 * lanes;
  static constexpr index depth = 128;  // summed per pass over c
  static constexpr index block_rows = 16 * rows;
  static constexpr index block_columns = 1024;
};

/// c[R, V * lanes] (+)= a b over `depth`; a holds R values a step, b holds V vectors a step.
template <class S, int R, int V>
PLAIT_FULL_WIDTH inline void multiply_tile(index depth, const S* a, index a_step, const S* b, index b_step, S* c, index c_step,
                                           bool add) {
  using vec = typename lanes_of<S>::type;
  constexpr int lanes = lanes_of<S>::count;
  vec acc[R][V];
  PLAIT_UNROLL
  for (int i = 0; i < R; ++i) {
    PLAIT_UNROLL
    for (int v = 0; v < V; ++v) acc[i][v] = vec{};
  }
  for (index p = 0; p < depth; ++p) {
    vec bv[V];
    PLAIT_UNROLL
    for (int v = 0; v < V; ++v) std::memcpy(&bv[v], b + v * lanes, sizeof(vec));
    PLAIT_UNROLL
    for (int i = 0; i < R; ++i) {
      PLAIT_UNROLL
      for (int v = 0; v < V; ++v) acc[i][v] += bv[v] * a[i];
    }
    a += a_step;
    b += b_step;
  }
  PLAIT_UNROLL
  for (int i = 0; i < R; ++i) {
    PLAIT_UNROLL
    for (int v = 0; v < V; ++v) {
      S* to = c + i * c_step + v * lanes;
      vec old;
      if (add) {
        std::memcpy(&old, to, sizeof old);
        acc[i][v] += old;
      }
      std::memcpy(to, &acc[i][v], sizeof(vec));
    }
  }
}

/// Picks the smallest tile that covers `rows` x `columns`. a and b are readable (zero) up to the tile's edge.
template <class S>
[[gnu::noinline]] void multiply_panels(index depth, const S* a, index a_step, const S* b, index b_step, S* c, index c_step,
                                       index rows, index columns, bool add) {
  using shape = tiling<S>;
  constexpr int full = shape::rows, most = full * 2 / 3, some = full / 3;
  S edge[full * shape::columns];
  S* to = c;
  index to_step = c_step;
  const bool narrow = columns <= shape::lanes;
  const index covered = rows <= some ? some : rows <= most ? most : full;
  const bool partial = covered != rows || (columns != shape::columns && columns != shape::lanes);
  if (partial) {
    to = edge;
    to_step = shape::columns;
  }
  const bool add_here = add && !partial;
  if (narrow) {
    if (covered == full)
      multiply_tile<S, full, 1>(depth, a, a_step, b, b_step, to, to_step, add_here);
    else if (covered == most)
      multiply_tile<S, most, 1>(depth, a, a_step, b, b_step, to, to_step, add_here);
    else
      multiply_tile<S, some, 1>(depth, a, a_step, b, b_step, to, to_step, add_here);
  } else {
    if (covered == full)
      multiply_tile<S, full, 2>(depth, a, a_step, b, b_step, to, to_step, add_here);
    else if (covered == most)
      multiply_tile<S, most, 2>(depth, a, a_step, b, b_step, to, to_step, add_here);
    else
      multiply_tile<S, some, 2>(depth, a, a_step, b, b_step, to, to_step, add_here);
  }
  if (!partial) return;
  for (index i = 0; i < rows; ++i) {
    const S* from = edge + i * shape::columns;
    S* row = c + i * c_step;
    if (add) {
      for (index j = 0; j < columns; ++j) row[j] = from[j] + row[j];
    } else {
      for (index j = 0; j < columns; ++j) row[j] = from[j];
    }
  }
}

/// One block of the product: packs what is not readable as it lies, then runs over the tiles.
template <class S>
class multiplication {
  using shape = tiling<S>;

 public:
  multiplication(index M, index N, index K, const operand& a, const operand& b) : M_(M), N_(N), K_(K), a_(a), b_(b) {
    const auto padded = [](index n, index step) { return (n + step - 1) / step * step; };
    const index depth = least(K, shape::depth);
    packed_a_ = scratch<S>(slot::pack_a, padded(least(M, shape::block_rows), shape::rows) * depth);
    packed_b_ = scratch<S>(slot::pack_b, padded(least(N, shape::block_columns), shape::columns) * depth);
    // A small matrix, or one read by few tiles, whose panels are already contiguous is not copied.
    constexpr index few = 16384;
    const dtype type = sizeof(S) == 8 ? dtype::f64 : dtype::f32;
    direct_a_ = a.outer == 1 && a.type == type && (M * K <= few || N <= 2 * shape::columns);
    direct_b_ = b.outer == 1 && b.type == type && (N * K <= few || M <= 2 * shape::rows);
  }

  void run(S* c, index c_step, bool add) {
    for (index j0 = 0; j0 < N_; j0 += shape::block_columns) {
      const index columns = least(N_ - j0, shape::block_columns);
      for (index p0 = 0; p0 < K_; p0 += shape::depth) {
        const index depth = least(K_ - p0, shape::depth);
        pack<shape::columns>(b_, direct_b_, j0, columns, p0, depth, packed_b_);
        for (index i0 = 0; i0 < M_; i0 += shape::block_rows) {
          const index rows = least(M_ - i0, shape::block_rows);
          pack<shape::rows>(a_, direct_a_, i0, rows, p0, depth, packed_a_);
          for (index j = 0; j < columns; j += shape::columns) {
            const panel right = panel_at<shape::columns>(b_, direct_b_, j0, columns, j, p0, depth, packed_b_);
            for (index i = 0; i < rows; i += shape::rows) {
              const panel left = panel_at<shape::rows>(a_, direct_a_, i0, rows, i, p0, depth, packed_a_);
              multiply_panels<S>(depth, left.data, left.step, right.data, right.step, c + (i0 + i) * c_step + j0 + j, c_step,
                                 least(rows - i, shape::rows), least(columns - j, shape::columns), add || p0 > 0);
            }
          }
        }
      }
    }
  }

 private:
  struct panel {
    const S* data;
    index step;
  };
  static index least(index a, index b) { return a < b ? a : b; }

  /// Packs `count` outer positions from `start`; a direct operand needs only its last, partial panel.
  template <int P>
  static void pack(const operand& m, bool direct, index start, index count, index p0, index depth, S* to) {
    const index skip = direct ? count / P * P : 0;
    pack_panels<P>(m, start + skip, count - skip, p0, depth, to + skip * depth);
  }
  template <int P>
  static panel panel_at(const operand& m, bool direct, index start, index count, index at, index p0, index depth,
                        const S* packed) {
    if (direct && at + P <= count) return {static_cast<const S*>(m.data) + start + at + p0 * m.inner, m.inner};
    return {packed + at * depth, P};
  }

  index M_, N_, K_;
  operand a_, b_;
  S *packed_a_, *packed_b_;
  bool direct_a_, direct_b_;
};

/// c[M, N] (+)= a b with c of the summing type, row stride c_step.
template <class S>
void multiply(index M, index N, index K, const operand& a, const operand& b, S* c, index c_step, bool add) {
  if (M <= 0 || N <= 0) return;
  if (K > 0) return multiplication<S>(M, N, K, a, b).run(c, c_step, add);
  for (index i = 0; i < M && !add; ++i) {
    for (index j = 0; j < N; ++j) c[i * c_step + j] = S(0);
  }
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
