// RMS normalisation, and rows minus their mean: a warp a row for short rows, a block a row for long ones.
#include "plait/kernels/cuda/columns.cuh"
#include "plait/kernels/cuda/device.cuh"
#include "plait/kernels/cuda/ops.hpp"

namespace plait::inline v0_1::cuda {
namespace {

inline constexpr index short_row = 512;

template <class T, int G, int V>
__global__ void __launch_bounds__(block_threads)
    norm_kernel(const T* x, const T* weight, float epsilon, T* y, float* inverse_rms, index rows, index n) {
  constexpr int groups = block_threads / G;
  const int lane = static_cast<int>(threadIdx.x) % G;
  for (index r = static_cast<index>(blockIdx.x) * groups + threadIdx.x / G; r < rows; r += static_cast<index>(gridDim.x) * groups) {
    const T* from = x + r * n;
    float sum = 0;
    for (index c = lane * V; c < n; c += G * V) {
      float a[V];
      load<V>(from + c, a);
#pragma unroll
      for (int j = 0; j < V; ++j) sum += a[j] * a[j];
    }
    const float inverse = 1.0f / sqrtf(over_group<G>(sum, plus{}) / static_cast<float>(n) + epsilon);
    if (inverse_rms != nullptr && lane == 0) inverse_rms[r] = inverse;
    for (index c = lane * V; c < n; c += G * V) {
      float a[V], w[V];
      load<V>(from + c, a);
      load<V>(weight + c, w);
#pragma unroll
      for (int j = 0; j < V; ++j) a[j] = w[j] * rounded<T>(a[j] * inverse);
      store<V>(y + r * n + c, a);
    }
  }
}

template <class T, int G, int V>
__global__ void __launch_bounds__(block_threads) centre_kernel(const T* x, T* y, index rows, index n) {
  constexpr int groups = block_threads / G;
  const int lane = static_cast<int>(threadIdx.x) % G;
  for (index r = static_cast<index>(blockIdx.x) * groups + threadIdx.x / G; r < rows; r += static_cast<index>(gridDim.x) * groups) {
    float sum = 0;
    for (index c = lane * V; c < n; c += G * V) {
      float a[V];
      load<V>(x + r * n + c, a);
#pragma unroll
      for (int j = 0; j < V; ++j) sum += a[j];
    }
    const float mean = over_group<G>(sum, plus{}) / static_cast<float>(n);
    for (index c = lane * V; c < n; c += G * V) {
      float a[V];
      load<V>(x + r * n + c, a);
#pragma unroll
      for (int j = 0; j < V; ++j) a[j] -= mean;
      store<V>(y + r * n + c, a);
    }
  }
}

/// parts[block, n]: this block's addends of dweight, if wanted. dx, if wanted.
template <class T, int G, int V>
__global__ void __launch_bounds__(block_threads)
    norm_gradient_kernel(const T* x, const T* weight, const float* inverse_rms, const T* dy, T* dx, float* parts, index rows, index n) {
  extern __shared__ float4 shared4[];
  float* const shared = reinterpret_cast<float*>(shared4);
  constexpr int groups = block_threads / G;
  const int lane = static_cast<int>(threadIdx.x) % G, group = static_cast<int>(threadIdx.x) / G;
  float* const mine = shared + static_cast<index>(group) * n;
  if (parts != nullptr)
    for (index c = lane * V; c < n; c += G * V)
#pragma unroll
      for (int j = 0; j < V; ++j) mine[c + j] = 0;
  for (index r = static_cast<index>(blockIdx.x) * groups + group; r < rows; r += static_cast<index>(gridDim.x) * groups) {
    const float inverse = inverse_rms[r];
    float sum = 0;
    for (index c = lane * V; c < n; c += G * V) {
      float a[V], g[V], w[V];
      load<V>(x + r * n + c, a);
      load<V>(dy + r * n + c, g);
      load<V>(weight + c, w);
#pragma unroll
      for (int j = 0; j < V; ++j) sum += g[j] * w[j] * a[j];
      if (parts != nullptr) {
        float d[V];
        load<V>(mine + c, d);
#pragma unroll
        for (int j = 0; j < V; ++j) d[j] += g[j] * rounded<T>(a[j] * inverse);
        store<V>(mine + c, d);
      }
    }
    if (dx == nullptr) continue;
    const float mean = over_group<G>(sum, plus{}) * inverse / static_cast<float>(n);
    for (index c = lane * V; c < n; c += G * V) {
      float a[V], g[V], w[V];
      load<V>(x + r * n + c, a);
      load<V>(dy + r * n + c, g);
      load<V>(weight + c, w);
#pragma unroll
      for (int j = 0; j < V; ++j) a[j] = inverse * (g[j] * w[j] - a[j] * inverse * mean);
      store<V>(dx + r * n + c, a);
    }
  }
  if (parts == nullptr) return;
  __syncthreads();
  for (index c = threadIdx.x; c < n; c += block_threads) {
    float sum = 0;
    for (int i = 0; i < groups; ++i) sum += shared[i * n + c];
    parts[static_cast<index>(blockIdx.x) * n + c] = sum;
  }
}

/// Calls body(G, V).
template <class T, class F, class... P>
void with_shape(index n, F&& body, const P*... pointers) {
  with_vector<wide<T>>(n, [&](auto v) {
    if (n <= short_row) body(std::integral_constant<int, 32>{}, v);
    else body(std::integral_constant<int, block_threads>{}, v);
  }, pointers...);
}

}  // namespace

void rms_norm(const execution& ex, view x, view weight, double epsilon, view y, view inverse_rms) {
  const index rows = x.rows(), n = x.columns();
  if (rows == 0 || n == 0) return;
  queue& q = queue_of(ex);
  if (weight.type != x.type) unsupported("rms_norm with another type of weight", weight.type);
  visit_float("rms_norm", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_shape<T>(n, [&](auto g, auto v) {
      constexpr int G = decltype(g)::value, V = decltype(v)::value;
      norm_kernel<T, G, V><<<blocks_for(rows, block_threads / G, 32ll * q.multiprocessors), block_threads, 0, q.stream>>>(
          x.as<const T>(), weight.as<const T>(), static_cast<float>(epsilon), y.as<T>(), inverse_rms.as<float>(), rows, n);
    }, x.as<T>(), weight.as<T>(), y.as<T>());
    launched("rms_norm");
  });
}

void centre_rows(const execution& ex, view x, view y) {
  const index rows = x.rows(), n = x.columns();
  if (rows == 0 || n == 0) return;
  queue& q = queue_of(ex);
  visit_float("centre_rows", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_shape<T>(n, [&](auto g, auto v) {
      constexpr int G = decltype(g)::value, V = decltype(v)::value;
      centre_kernel<T, G, V><<<blocks_for(rows, block_threads / G, 32ll * q.multiprocessors), block_threads, 0, q.stream>>>(x.as<const T>(), y.as<T>(),
                                                                                                                         rows, n);
    }, x.as<T>(), y.as<T>());
    launched("centre_rows");
  });
}

void rms_norm_gradient(const execution& ex, view x, view weight, view inverse_rms, view dy, view dx, view dweight) {
  const index rows = x.rows(), n = x.columns();
  if (rows == 0 || n == 0) return;
  queue& q = queue_of(ex);
  if (weight.type != x.type) unsupported("rms_norm_gradient with another type of weight", weight.type);
  visit_float("rms_norm_gradient", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_shape<T>(n, [&](auto g, auto v) {
      constexpr int G = decltype(g)::value, V = decltype(v)::value;
      const unsigned blocks = blocks_for(rows, block_threads / G * 4, 4ll * q.multiprocessors);
      const scratch parts(q, dweight ? sizeof(float) * static_cast<std::size_t>(blocks * n) : 1);
      const std::size_t shared = dweight ? sizeof(float) * static_cast<std::size_t>(block_threads / G * n) : 0;
      allow_shared(norm_gradient_kernel<T, G, V>, shared, "rms_norm_gradient");
      norm_gradient_kernel<T, G, V>
          <<<blocks, block_threads, shared, q.stream>>>(x.as<const T>(), weight.as<const T>(), inverse_rms.as<const float>(),
                                                        dy.as<const T>(), dx.as<T>(), dweight ? parts.as<float>() : nullptr, rows, n);
      launched("rms_norm_gradient");
      if (dweight) finish_columns(q, parts.as<float>(), blocks, n, dweight, true);
    }, x.as<T>(), weight.as<T>(), dy.as<T>(), dx.as<T>());
  });
}

}  // namespace plait::inline v0_1::cuda
