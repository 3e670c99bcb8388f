// A bias an expert, on rows sorted by expert.
#include "plait/kernels/cuda/device.cuh"
#include "plait/kernels/cuda/ops.hpp"

namespace plait::inline v0_1::cuda {
namespace {

__device__ __forceinline__ index inside(int row, index capacity) { return row < 0 ? 0 : row > capacity ? capacity : row; }

/// A block a row (or several); rows past the last offset are nobody's.
template <class T>
__global__ void __launch_bounds__(128)
    expert_bias_kernel(const T* x, const T* bias, const int* offsets, int experts, T* y, index rows, index n) {
  const index first = inside(offsets[0], rows), end = inside(offsets[experts], rows);
  for (index r = first + blockIdx.x; r < end; r += gridDim.x) {
    int low = 0, high = experts;  // the last expert that begins at r or before it
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (offsets[middle] <= r) low = middle;
      else high = middle;
    }
    for (index c = threadIdx.x; c < n; c += 128)
      y[r * n + c] = convert<T>(convert<float>(x[r * n + c]) + convert<float>(bias[low * n + c]));
  }
}

/// Block (32, 8): 32 columns of one expert, summed in double in a fixed order.
template <class T, class To>
__global__ void __launch_bounds__(256) expert_bias_gradient_kernel(const T* dy, const int* offsets, To* dbias, index rows, index n) {
  const index c = static_cast<index>(blockIdx.x) * 32 + threadIdx.x, e = blockIdx.y;
  const index first = inside(offsets[e], rows), end = inside(offsets[e + 1], rows);
  double sum = 0;
  if (c < n)
    for (index r = first + threadIdx.y; r < end; r += 8) sum += convert<double>(dy[r * n + c]);
  __shared__ double sums[8][33];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || c >= n || first >= end) return;
  for (int i = 1; i < 8; ++i) sum += sums[i][threadIdx.x];
  To* const to = dbias + e * n + c;
  *to = convert<To>(convert<double>(*to) + sum);
}

}  // namespace

void expert_bias(const execution& ex, view x, view bias, view offsets, view y) {
  const index rows = x.rows(), n = x.columns();
  const int experts = static_cast<int>(offsets.size()) - 1;
  if (rows == 0 || n == 0 || experts == 0) return;
  if (bias.type != x.type) throw std::runtime_error("plait: CUDA: expert_bias with another type of bias");
  visit_float("expert_bias", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    expert_bias_kernel<T><<<blocks_for(rows, 1), 128, 0, queue_of(ex).stream>>>(x.as<const T>(), bias.as<const T>(), offsets.as<const int>(),
                                                                             experts, y.as<T>(), rows, n);
    launched("expert_bias");
  });
}

void expert_bias_gradient(const execution& ex, view dy, view offsets, view dbias) {
  const index rows = dy.rows(), n = dy.columns(), experts = offsets.size() - 1;
  if (rows == 0 || n == 0 || experts == 0) return;
  visit_float("expert_bias_gradient", dy.type, [&](auto from) {
    using T = typename decltype(from)::type;
    visit_float("expert_bias_gradient", dbias.type, [&](auto to) {
      using To = typename decltype(to)::type;
      expert_bias_gradient_kernel<T, To><<<dim3(blocks_for(n, 32), static_cast<unsigned>(experts)), dim3(32, 8), 0, queue_of(ex).stream>>>(
          dy.as<const T>(), offsets.as<const int>(), dbias.as<To>(), rows, n);
      launched("expert_bias_gradient");
    });
  });
}

}  // namespace plait::inline v0_1::cuda
