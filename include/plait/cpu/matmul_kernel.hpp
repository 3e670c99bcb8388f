#pragma once
// The dense product on one thread: packed panels, a register tile, blocks of the summed dim in a fixed order.
// One output element is always the same sequence of multiply-adds, whatever rows or columns are asked for beside it.
#include "plait/cpu/lanes.hpp"
#include "plait/cpu/workspace.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

#if defined(__clang__)
#define PLAIT_UNROLL _Pragma("unroll")
#else
#define PLAIT_UNROLL _Pragma("GCC unroll 16")
#endif

/// An input matrix: element (i, p) of a, or (p, j) of b, with `p` the summed dim. `outer` strides over i or j.
struct operand {
  const void* data;
  dtype type;
  index outer, inner;
};

template <class S>
struct tiling {
  static constexpr int lanes = lanes_of<S>::count;
  static constexpr int rows = vector_bytes == 64 ? 12 : 6;  // of one register tile
  static constexpr int columns = 2 * lanes;
  static constexpr index depth = 256;  // summed per pass over c
  static constexpr index block_rows = 16 * rows;
  static constexpr index block_columns = 1024;
};

/// c[R, V * lanes] (+)= a b over `depth`; a holds R values a step, b holds V vectors a step.
template <class S, int R, int V>
inline void multiply_tile(index depth, const S* a, index a_step, const S* b, index b_step, S* c, index c_step, bool add) {
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
inline void multiply_panels(index depth, const S* a, index a_step, const S* b, index b_step, S* c, index c_step, index rows,
                            index columns, bool add) {
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
    if (covered == full) multiply_tile<S, full, 1>(depth, a, a_step, b, b_step, to, to_step, add_here);
    else if (covered == most) multiply_tile<S, most, 1>(depth, a, a_step, b, b_step, to, to_step, add_here);
    else multiply_tile<S, some, 1>(depth, a, a_step, b, b_step, to, to_step, add_here);
  } else {
    if (covered == full) multiply_tile<S, full, 2>(depth, a, a_step, b, b_step, to, to_step, add_here);
    else if (covered == most) multiply_tile<S, most, 2>(depth, a, a_step, b, b_step, to, to_step, add_here);
    else multiply_tile<S, some, 2>(depth, a, a_step, b, b_step, to, to_step, add_here);
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

/// Copies `count` <= P outer positions by `depth` inner ones into [depth][P], zeros beyond `count`.
template <int P, class S, class T>
void pack_panel(const T* from, index outer, index inner, index count, index depth, S* to) {
  if (count < P) {
    for (index p = 0; p < depth; ++p) {
      for (index i = 0; i < P; ++i) to[p * P + i] = i < count ? convert<S>(from[i * outer + p * inner]) : S(0);
    }
  } else if (outer == 1) {
    for (index p = 0; p < depth; ++p) {
      for (int i = 0; i < P; ++i) to[p * P + i] = convert<S>(from[p * inner + i]);
    }
  } else {
    for (int i = 0; i < P; ++i) {
      for (index p = 0; p < depth; ++p) to[p * P + i] = convert<S>(from[i * outer + p * inner]);
    }
  }
}

template <int P, class S>
void pack_panels(const operand& m, index start, index count, index start_depth, index depth, S* to) {
  visit_float("matmul", m.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (sizeof(T) <= sizeof(S)) {
      for (index at = 0; at < count; at += P, to += P * depth) {
        const T* from = static_cast<const T*>(m.data) + (start + at) * m.outer + start_depth * m.inner;
        pack_panel<P>(from, m.outer, m.inner, count - at < P ? count - at : P, depth, to);
      }
    }
  });
}

/// c[M, N] (+)= a b with c of the summing type, row stride c_step.
template <class S>
void multiply(index M, index N, index K, const operand& a, const operand& b, S* c, index c_step, bool add) {
  using shape = tiling<S>;
  if (M <= 0 || N <= 0) return;
  if (K <= 0) {
    for (index i = 0; i < M && !add; ++i) {
      for (index j = 0; j < N; ++j) c[i * c_step + j] = S(0);
    }
    return;
  }
  const index depth_max = K < shape::depth ? K : shape::depth;
  const auto padded = [](index n, index step) { return (n + step - 1) / step * step; };
  const index rows_max = M < shape::block_rows ? padded(M, shape::rows) : shape::block_rows;
  const index columns_max = N < shape::block_columns ? padded(N, shape::columns) : shape::block_columns;
  S* packed_a = scratch<S>(slot::pack_a, rows_max * depth_max);
  S* packed_b = scratch<S>(slot::pack_b, columns_max * depth_max);
  for (index j0 = 0; j0 < N; j0 += shape::block_columns) {
    const index columns = N - j0 < shape::block_columns ? N - j0 : shape::block_columns;
    for (index p0 = 0; p0 < K; p0 += shape::depth) {
      const index depth = K - p0 < shape::depth ? K - p0 : shape::depth;
      const bool add_here = add || p0 > 0;
      pack_panels<shape::columns>(b, j0, columns, p0, depth, packed_b);
      for (index i0 = 0; i0 < M; i0 += shape::block_rows) {
        const index rows = M - i0 < shape::block_rows ? M - i0 : shape::block_rows;
        pack_panels<shape::rows>(a, i0, rows, p0, depth, packed_a);
        for (index j = 0; j < columns; j += shape::columns) {
          for (index i = 0; i < rows; i += shape::rows) {
            multiply_panels<S>(depth, packed_a + i * depth, shape::rows, packed_b + j * depth, shape::columns,
                               c + (i0 + i) * c_step + j0 + j, c_step, rows - i < shape::rows ? rows - i : shape::rows,
                               columns - j < shape::columns ? columns - j : shape::columns, add_here);
          }
        }
      }
    }
  }
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
