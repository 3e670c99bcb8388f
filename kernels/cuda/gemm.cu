// Dense products by cuBLASLt; products by expert by the grouped GEMM in bf16. What neither takes (float32 experts, odd sizes) goes to
// one tiled kernel that keeps float32 sums.
#include <algorithm>

#include "plait/kernels/cuda/device.cuh"
#include "plait/kernels/cuda/ops.hpp"
#include "plait/kernels/grouped_gemm.hpp"

namespace plait::inline v0_1::cuda {
namespace {

inline constexpr int tile = 64, depth = 16;

/// How the matrices of a launch are found: one product, rows by expert (A and C ragged), or the contraction by expert.
enum class grouping { none, rows, depth };

/// A(m, k) = a[m am + k ak], B(k, n) = b[k bk + n bn], C(m, n) = c[m cm + n]. Of one expert: b moves by b_step (rows), c by c_step (depth).
template <class T, class C>
struct product {
  const T *a, *b;
  C* c;
  index am, ak, bk, bn, cm, b_step, c_step;
  int M, N, K;
  bool add;
  const int* offsets;
  int experts;
};

__device__ __forceinline__ int clamped(int row, int capacity) { return row < 0 ? 0 : row > capacity ? capacity : row; }

/// Which expert owns the `target`-th tile of rows, counting each expert's own; called by one warp. experts if there is none.
__device__ __forceinline__ int find_expert(const int* offsets, int experts, int capacity, int target, int& first_row, int& end_row) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int before = 0;
  for (int base = 0; base < experts; base += 32) {
    const int e = base + lane;
    const int begin = e < experts ? clamped(offsets[e], capacity) : 0, end = e < experts ? clamped(offsets[e + 1], capacity) : 0;
    const int tiles = end > begin ? (end - begin + tile - 1) / tile : 0;
    int through = tiles;
    for (int step = 1; step < 32; step *= 2) {
      const int other = __shfl_up_sync(~0u, through, step);
      if (lane >= step) through += other;
    }
    const unsigned past = __ballot_sync(~0u, before + through > target);
    if (past != 0) {
      const int owner = __ffs(static_cast<int>(past)) - 1;
      first_row = __shfl_sync(~0u, begin + (target - before - (through - tiles)) * tile, owner);
      end_row = __shfl_sync(~0u, end, owner);
      return base + owner;
    }
    before += __shfl_sync(~0u, through, 31);
  }
  return experts;
}

template <class T, class C, grouping Kind>
__global__ void __launch_bounds__(256) product_kernel(product<T, C> p) {
  __shared__ float as[depth][tile + 4], bs[depth][tile + 4];
  __shared__ int owner[3];
  int m0 = static_cast<int>(blockIdx.x) * tile, m1 = p.M, k0 = 0, k1 = p.K;
  const int n0 = static_cast<int>(blockIdx.y) * tile;
  if constexpr (Kind == grouping::rows) {
    if (threadIdx.x < 32) {
      int first = 0, end = 0;
      const int e = find_expert(p.offsets, p.experts, p.M, static_cast<int>(blockIdx.x), first, end);
      if (threadIdx.x == 0) owner[0] = e, owner[1] = first, owner[2] = end;
    }
    __syncthreads();
    if (owner[0] >= p.experts) return;
    p.b += owner[0] * p.b_step;
    m0 = owner[1];
    m1 = owner[2];
  }
  if constexpr (Kind == grouping::depth) {
    const int e = static_cast<int>(blockIdx.z);
    k0 = clamped(p.offsets[e], p.K);
    k1 = clamped(p.offsets[e + 1], p.K);
    if (k0 >= k1 && p.add) return;  // nothing is added
    p.c += e * p.c_step;
  }
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  float sum[4][4] = {};
  for (int k = k0; k < k1; k += depth) {
    for (int i = static_cast<int>(threadIdx.x); i < tile * depth; i += 256) {
      // Neighbouring threads read neighbouring memory.
      const int am = p.ak == 1 ? i / depth : i % tile, ak = p.ak == 1 ? i % depth : i / tile;
      const int bn = p.bn == 1 ? i % tile : i / depth, bk = p.bn == 1 ? i / tile : i % depth;
      as[ak][am] = m0 + am < m1 && k + ak < k1 ? convert<float>(p.a[(m0 + am) * p.am + (k + ak) * p.ak]) : 0.0f;
      bs[bk][bn] = n0 + bn < p.N && k + bk < k1 ? convert<float>(p.b[(k + bk) * p.bk + (n0 + bn) * p.bn]) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int d = 0; d < depth; ++d) {
      float x[4], y[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] = as[d][ty * 4 + i], y[i] = bs[d][tx * 4 + i];
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] += x[i] * y[j];
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int m = m0 + ty * 4 + i, n = n0 + tx * 4 + j;
      if (m >= m1 || n >= p.N) continue;
      C* const to = p.c + m * p.cm + n;
      *to = convert<C>(p.add ? convert<float>(*to) + sum[i][j] : sum[i][j]);
    }
}

template <grouping Kind>
void multiply(queue& q, const char* what, view a, view b, view c, index am, index ak, index bk, index bn, index cm, index M, index N,
              index K, bool add, view offsets, index b_step, index c_step) {
  if (M == 0 || N == 0) return;
  if (a.type != b.type) unsupported(what, b.type);
  visit_float(what, a.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto run = [&](auto c_tag) {
      using C = typename decltype(c_tag)::type;
      const int experts = Kind == grouping::none ? 0 : static_cast<int>(offsets.size() - 1);
      product<T, C> p{a.as<const T>(),
                      b.as<const T>(),
                      c.as<C>(),
                      am,
                      ak,
                      bk,
                      bn,
                      cm,
                      b_step,
                      c_step,
                      static_cast<int>(M),
                      static_cast<int>(N),
                      static_cast<int>(K),
                      add,
                      offsets.as<const int>(),
                      experts};
      dim3 grid(blocks_for(M, tile, 0x7fffffff), blocks_for(N, tile));
      if (Kind == grouping::rows) grid.x += static_cast<unsigned>(experts);  // each expert may have one tile that is not full
      if (Kind == grouping::depth) grid.z = static_cast<unsigned>(experts);
      product_kernel<T, C, Kind><<<grid, 256, 0, q.stream>>>(p);
      launched(what);
    };
    if (c.type == dtype::f32) run(type_tag<float>{});
    else if (c.type == a.type) run(type_tag<T>{});
    else unsupported(what, c.type);
  });
}

/// Rows of experts, as the grouped GEMM takes them; false where it does not fit.
bool grouped_shape(queue& q, view offsets, view weight, bool transposed, index rows, view x, view y, kernels::grouped_gemm_shape& shape) {
  const index local = weight.extent[0], out = weight.extent[transposed ? 2 : 1], in = weight.extent[transposed ? 1 : 2];
  if (x.type != dtype::bf16 || y.type != dtype::bf16 || q.capability < 80 || local > kernels::expert_layout::max_experts || out % 8 != 0 ||
      in % 8 != 0 || out == 0 || in == 0 || rows > 0x7fffffff || !aligned16(x.as<char>(), y.as<char>(), weight.as<char>()))
    return false;
  if (q.grouped_words == nullptr) {
    const std::size_t bytes = sizeof(unsigned) * kernels::queue_words;
    q.grouped_words = static_cast<unsigned*>(q.allocate(bytes));
    check(cudaMemsetAsync(q.grouped_words, 0, bytes, q.stream), "grouped products");
  }
  shape.layout = kernels::expert_layout::contiguous(offsets.as<const int>(), static_cast<int>(local));
  shape.total_rows = rows;
  shape.in = static_cast<int>(in);
  shape.out = static_cast<int>(out);
  shape.weights = transposed ? kernels::weight_layout::in_out : kernels::weight_layout::out_in;
  shape.queue = q.grouped_words;
  return true;
}
void succeeded(const char* problem) {
  if (problem != nullptr) throw std::runtime_error(std::string("plait: CUDA: ") + problem);
}

}  // namespace

void matmul(const execution& ex, view a, bool transpose_a, view b, bool transpose_b, view c, bool accumulate) {
  const index M = transpose_a ? a.columns() : a.rows(), K = transpose_a ? a.rows() : a.columns();
  const index N = transpose_b ? b.rows() : b.columns();
  if (M == 0 || N == 0) return;
  if (K == 0) {
    if (!accumulate) check(cudaMemsetAsync(c.data, 0, c.bytes(), queue_of(ex).stream), "matmul");
    return;
  }
  queue& q = queue_of(ex);
  if (blas_product(q, M, N, K, a, transpose_a, b, transpose_b, c, accumulate)) return;
  multiply<grouping::none>(q, "matmul", a, b, c, transpose_a ? 1 : K, transpose_a ? M : 1, transpose_b ? 1 : N, transpose_b ? K : 1, N, M,
                           N, K, accumulate, view{}, 0, 0);
}

void grouped_matmul(const execution& ex, view x, view weight, bool transposed, view offsets, view y) {
  const index out = weight.extent[transposed ? 2 : 1], in = weight.extent[transposed ? 1 : 2], rows = x.rows();
  if (rows == 0 || weight.extent[0] == 0 || out == 0) return;
  queue& q = queue_of(ex);
  kernels::grouped_gemm_shape shape;
  if (weight.type == dtype::bf16 && grouped_shape(q, offsets, weight, transposed, rows, x, y, shape))
    return succeeded(kernels::grouped_forward(shape, x.data, weight.data, y.data, q.stream));
  multiply<grouping::rows>(q, "grouped_matmul", x, weight, y, in, 1, transposed ? out : 1, transposed ? 1 : in, out, rows, out, in, false,
                           offsets, out * in, 0);
}

void grouped_input_gradient(const execution& ex, view dy, view weight, bool transposed, view offsets, view dx) {
  const index out = weight.extent[transposed ? 2 : 1], in = weight.extent[transposed ? 1 : 2], rows = dy.rows();
  if (rows == 0 || weight.extent[0] == 0 || in == 0) return;
  queue& q = queue_of(ex);
  kernels::grouped_gemm_shape shape;
  if (weight.type == dtype::bf16 && grouped_shape(q, offsets, weight, transposed, rows, dy, dx, shape))
    return succeeded(kernels::grouped_input_gradient(shape, dy.data, weight.data, dx.data, q.stream));
  multiply<grouping::rows>(q, "grouped_input_gradient", dy, weight, dx, out, 1, transposed ? 1 : in, transposed ? out : 1, in, rows, in, out,
                           false, offsets, out * in, 0);
}

void grouped_weight_gradient(const execution& ex, view x, view dy, bool transposed, view offsets, view dweight, bool accumulate) {
  const index high = dweight.extent[1], wide = dweight.extent[2], rows = x.rows();
  if (dweight.extent[0] == 0) return;
  queue& q = queue_of(ex);
  if (rows == 0) {
    if (!accumulate) check(cudaMemsetAsync(dweight.data, 0, dweight.bytes(), q.stream), "grouped_weight_gradient");
    return;
  }
  kernels::grouped_gemm_shape shape;
  if (dweight.type == dtype::f32 && grouped_shape(q, offsets, dweight, transposed, rows, x, dy, shape))
    return succeeded(kernels::grouped_weight_gradient(shape, dy.data, x.data, dweight.as<float>(), accumulate, q.stream));
  multiply<grouping::depth>(q, "grouped_weight_gradient", transposed ? x : dy, transposed ? dy : x, dweight, 1, high, wide, 1, wide, high,
                            wide, rows, accumulate, offsets, 0, high * wide);
}

}  // namespace plait::inline v0_1::cuda
