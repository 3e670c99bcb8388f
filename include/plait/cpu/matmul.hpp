#pragma once
// The dense product for views of any float type: picks the summing type, the output path, threads, or a BLAS.
#include "plait/cpu/matmul_blas.hpp"
#include "plait/cpu/matmul_kernel.hpp"
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

/// An output matrix with unit column stride.
struct target {
  void* data;
  dtype type;
  index step;  // between rows

  target moved(index row, index column) const {
    return {static_cast<char*>(data) + (row * step + column) * static_cast<index>(size_of(type)), type, step};
  }
};

inline operand moved(const operand& m, index outer, index inner = 0) {
  return {static_cast<const char*>(m.data) + (outer * m.outer + inner * m.inner) * static_cast<index>(size_of(m.type)), m.type,
          m.outer, m.inner};
}

/// One thread; c of another type than the sums goes through a float tile and is rounded once.
template <class S>
void multiply_into(index M, index N, index K, const operand& a, const operand& b, const target& c, bool add) {
  if (size_of(c.type) == sizeof(S)) return multiply<S>(M, N, K, a, b, static_cast<S*>(c.data), c.step, add);
  if constexpr (std::is_same_v<S, double>) {
    unsupported("matmul of f64 into a narrower type", c.type);
  } else {
    constexpr index rows_most = 512, columns_most = 512;
    for (index i = 0; i < M; i += rows_most) {
      const index rows = M - i < rows_most ? M - i : rows_most;
      for (index j = 0; j < N; j += columns_most) {
        const index columns = N - j < columns_most ? N - j : columns_most;
        S* tile = scratch<S>(slot::tile, rows * columns);
        multiply<S>(rows, columns, K, moved(a, i), moved(b, j), tile, columns, false);
        for (index r = 0; r < rows; ++r) {
          bfloat16* to = static_cast<bfloat16*>(c.data) + (i + r) * c.step + j;
          if (add) {
            for (index k = 0; k < columns; ++k) to[k] = bfloat16(static_cast<float>(to[k]) + tile[r * columns + k]);
          } else {
            convert_row(tile + r * columns, to, columns);
          }
        }
      }
    }
  }
}

[[gnu::noinline]] inline void multiply_any(index M, index N, index K, const operand& a, const operand& b, const target& c,
                                           bool add) {
  if (a.type == dtype::f64 || b.type == dtype::f64 || c.type == dtype::f64) return multiply_into<double>(M, N, K, a, b, c, add);
  multiply_into<float>(M, N, K, a, b, c, add);
}

/// c[M, N] (+)= a b on up to `threads` threads, by whole rows or columns of c.
[[gnu::noinline]] inline void product(index M, index N, index K, const operand& a, const operand& b, const target& c, bool add,
                                      int threads) {
  if (M <= 0 || N <= 0) return;
  if (blas_product(M, N, K, a, b, c.data, c.type, c.step, add)) return;
  const double work = 2.0 * static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(K);
  if (threads <= 1 || work < parallel_threshold) return multiply_any(M, N, K, a, b, c, add);
  constexpr index grain = 96;  // a multiple of every tile's rows and columns
  const bool by_rows = M >= N;
  const index extent = by_rows ? M : N;
  const index share = ((extent + threads - 1) / threads + grain - 1) / grain * grain;
  parallel_for((extent + share - 1) / share, threads, [&](index t) {
    const index start = t * share, size = extent - start < share ? extent - start : share;
    if (by_rows)
      multiply_any(size, N, K, moved(a, start), b, c.moved(start, 0), add);
    else
      multiply_any(M, size, K, a, moved(b, start), c.moved(0, start), add);
  });
}

inline void matmul(const execution& ex, view a, bool transpose_a, view b, bool transpose_b, view c, bool accumulate) {
  const index M = transpose_a ? a.columns() : a.rows(), K = transpose_a ? a.rows() : a.columns();
  const index N = transpose_b ? b.rows() : b.columns();
  const operand left{a.data, a.type, transpose_a ? 1 : K, transpose_a ? M : 1};
  const operand right{b.data, b.type, transpose_b ? K : 1, transpose_b ? 1 : N};
  product(M, N, K, left, right, {c.data, c.type, N}, accumulate, ex.threads);
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
