#pragma once
// The one place a BLAS is called: large f32 and f64 products, if the build found one (PLAIT_OPENBLAS).
#include "plait/cpu/matmul_kernel.hpp"

namespace plait::inline v0_1 {

/// Whether a build with a BLAS uses it; off, every product takes the library's own fixed-order path. Set before work starts.
/// On by itself only where the own path has no wide vectors (no -march): a BLAS picks its kernels at run time, but not always
/// well (Debian's OpenBLAS takes SSE kernels for processors it does not know, five times slower than the own path with AVX-512).
inline bool& blas_products() {
  static bool on = cpu_detail::vector_bytes < 32;
  return on;
}

namespace cpu_detail {

#if defined(PLAIT_OPENBLAS)
// Declared here under names of our own: OpenBLAS's <cblas.h> would put its own type `bfloat16` into the global namespace, where
// `using namespace plait` makes ours ambiguous. The enumerations of that header are ints with these values.
inline constexpr int blas_row_major = 101, blas_as_is = 111, blas_transposed = 112;
void blas_sgemm(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float* a, int a_step,
                const float* b, int b_step, float beta, float* c, int c_step) __asm__("cblas_sgemm");
void blas_dgemm(int order, int transpose_a, int transpose_b, int m, int n, int k, double alpha, const double* a, int a_step,
                const double* b, int b_step, double beta, double* c, int c_step) __asm__("cblas_dgemm");
#endif

/// True if the BLAS did the product.
inline bool blas_product([[maybe_unused]] index M, [[maybe_unused]] index N, [[maybe_unused]] index K,
                         [[maybe_unused]] const operand& a, [[maybe_unused]] const operand& b, [[maybe_unused]] void* c,
                         [[maybe_unused]] dtype type, [[maybe_unused]] index step, [[maybe_unused]] bool add) {
#if defined(PLAIT_OPENBLAS)
  constexpr double smallest = 64.0 * 64 * 64;
  constexpr index most = std::numeric_limits<int>::max();
  if (!blas_products() || static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(K) < smallest) return false;
  if (a.type != type || b.type != type || (type != dtype::f32 && type != dtype::f64)) return false;
  if ((a.outer != 1 && a.inner != 1) || (b.outer != 1 && b.inner != 1)) return false;
  const bool transpose_a = a.inner != 1, transpose_b = b.inner == 1;
  const index a_step = transpose_a ? a.inner : a.outer, b_step = transpose_b ? b.outer : b.inner;
  // A row stride below the row's length only arises from matrices of one row or column.
  if (a_step < (transpose_a ? M : K) || b_step < (transpose_b ? K : N) || step < N) return false;
  if (M > most || N > most || K > most || a_step > most || b_step > most || step > most) return false;
  const int ta = transpose_a ? blas_transposed : blas_as_is, tb = transpose_b ? blas_transposed : blas_as_is;
  const int m = static_cast<int>(M), n = static_cast<int>(N), k = static_cast<int>(K);
  const int lda = static_cast<int>(a_step), ldb = static_cast<int>(b_step), ldc = static_cast<int>(step);
  if (type == dtype::f32) {
    blas_sgemm(blas_row_major, ta, tb, m, n, k, 1.0f, static_cast<const float*>(a.data), lda, static_cast<const float*>(b.data),
               ldb, add ? 1.0f : 0.0f, static_cast<float*>(c), ldc);
  } else {
    blas_dgemm(blas_row_major, ta, tb, m, n, k, 1.0, static_cast<const double*>(a.data), lda, static_cast<const double*>(b.data),
               ldb, add ? 1.0 : 0.0, static_cast<double*>(c), ldc);
  }
  return true;
#else
  return false;
#endif
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
