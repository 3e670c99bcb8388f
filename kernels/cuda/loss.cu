// Cross entropy in parts, so that the vocabulary may be cut.
#include <cmath>

#include "plait/kernels/cuda/device.cuh"
#include "plait/kernels/cuda/ops.hpp"

namespace plait::inline v0_1::cuda {
namespace {

inline constexpr std::int64_t ignored = -100;
inline constexpr index short_row = 512;

/// Row r of this group's threads: f(r, lane) for every row, G threads each.
template <class T, int G, int V>
__global__ void __launch_bounds__(block_threads) maximum_kernel(const T* logits, index rows, index n, float* maximum) {
  constexpr int groups = block_threads / G;
  const int lane = static_cast<int>(threadIdx.x) % G;
  for (index r = static_cast<index>(blockIdx.x) * groups + threadIdx.x / G; r < rows; r += static_cast<index>(gridDim.x) * groups) {
    float best = -INFINITY;
    for (index c = lane * V; c < n; c += G * V) {
      float a[V];
      load<V>(logits + r * n + c, a);
#pragma unroll
      for (int j = 0; j < V; ++j) best = a[j] > best ? a[j] : best;
    }
    best = over_group<G>(best, larger{});
    if (lane == 0) maximum[r] = best;
  }
}

template <class T, int G, int V>
__global__ void __launch_bounds__(block_threads)
    parts_kernel(const T* logits, const float* maximum, const std::int64_t* labels, index first, index vocabulary, index rows, index n,
                 float* parts, unsigned long long* faults) {
  constexpr int groups = block_threads / G;
  const int lane = static_cast<int>(threadIdx.x) % G;
  for (index r = static_cast<index>(blockIdx.x) * groups + threadIdx.x / G; r < rows; r += static_cast<index>(gridDim.x) * groups) {
    const float largest = maximum[r];
    double total = 0;
    for (index c = lane * V; c < n; c += G * V) {
      float a[V], sum = 0;
      load<V>(logits + r * n + c, a);
#pragma unroll
      for (int j = 0; j < V; ++j) sum += expf(a[j] - largest);
      total += static_cast<double>(sum);
    }
    total = over_group<G>(total, plus{});
    if (lane != 0) continue;
    const std::int64_t label = labels[r];
    if (label != ignored && (label < 0 || label >= vocabulary)) raise(faults, fault::label_out_of_range, r);
    const bool here = label >= 0 && label < vocabulary && label >= first && label - first < n;
    parts[r] = static_cast<float>(total);
    parts[rows + r] = here ? convert<float>(logits[r * n + (label - first)]) - largest : 0.0f;
  }
}

template <class T, int G, int V>
__global__ void __launch_bounds__(block_threads) parts_gradient_kernel(const T* logits, const float* maximum, const std::int64_t* labels,
                                                                       index first, const float* dparts, index rows, index n, T* dlogits) {
  constexpr int groups = block_threads / G;
  const int lane = static_cast<int>(threadIdx.x) % G;
  for (index r = static_cast<index>(blockIdx.x) * groups + threadIdx.x / G; r < rows; r += static_cast<index>(gridDim.x) * groups) {
    const float largest = maximum[r], dsum = dparts[r], dtarget = dparts[rows + r];
    const bool ignore = dsum == 0.0f && dtarget == 0.0f;  // no gradient, even from logits that are not finite
    const std::int64_t label = labels[r];
    const index target = label >= 0 && label >= first && label - first < n ? label - first : -1;
    for (index c = lane * V; c < n; c += G * V) {  // each element is read by the thread that writes it: dlogits may be logits
      float a[V];
      load<V>(logits + r * n + c, a);
#pragma unroll
      for (int j = 0; j < V; ++j) {
        a[j] = ignore ? 0.0f : dsum * expf(a[j] - largest);
        if (!ignore && c + j == target) a[j] += dtarget;
      }
      store<V>(dlogits + r * n + c, a);
    }
  }
}

__global__ void __launch_bounds__(1024) loss_kernel(const float* parts, const std::int64_t* labels, index rows, double factor, float* loss) {
  double total = 0;
  for (index r = threadIdx.x; r < rows; r += 1024)
    if (labels[r] >= 0) total += log(static_cast<double>(parts[r])) - static_cast<double>(parts[rows + r]);
  total = over_group<1024>(total, plus{});
  if (threadIdx.x == 0) loss[0] = static_cast<float>(factor * total);
}

struct loss_gradient_op {
  const float* parts;
  const std::int64_t* labels;
  const float* dloss;
  double factor;
  float* dparts;
  index rows;
  template <int V>
  __device__ void run(index r) const {
    const double d = factor * static_cast<double>(dloss[0]);
    const bool valid = labels[r] >= 0;
    dparts[r] = valid ? static_cast<float>(d / static_cast<double>(parts[r])) : 0.0f;
    dparts[rows + r] = valid ? static_cast<float>(-d) : 0.0f;
  }
};

/// Calls launch(G, V, blocks).
template <class T, class F, class... P>
void by_row(queue& q, index rows, index n, F&& launch, const P*... pointers) {
  with_vector<wide<T>>(n, [&](auto v) {
    const index most = 32ll * q.multiprocessors;
    if (n <= short_row) launch(std::integral_constant<int, 32>{}, v, blocks_for(rows, block_threads / 32, most));
    else launch(std::integral_constant<int, block_threads>{}, v, blocks_for(rows, 1, most));
  }, pointers...);
}

}  // namespace

void row_maximum(const execution& ex, view logits, view maximum) {
  const index rows = logits.rows(), n = logits.columns();
  if (rows == 0) return;
  queue& q = queue_of(ex);
  visit_float("row_maximum", logits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    by_row<T>(q, rows, n, [&](auto g, auto v, unsigned blocks) {
      constexpr int G = decltype(g)::value, V = decltype(v)::value;
      maximum_kernel<T, G, V><<<blocks, block_threads, 0, q.stream>>>(logits.as<const T>(), rows, n, maximum.as<float>());
    }, logits.as<T>());
    launched("row_maximum");
  });
}

void cross_entropy_parts(const execution& ex, view logits, view maximum, view labels, std::int64_t first, std::int64_t vocabulary,
                         view parts) {
  const index rows = logits.rows(), n = logits.columns();
  if (rows == 0) return;
  queue& q = queue_of(ex);
  visit_float("cross_entropy_parts", logits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    by_row<T>(q, rows, n, [&](auto g, auto v, unsigned blocks) {
      constexpr int G = decltype(g)::value, V = decltype(v)::value;
      parts_kernel<T, G, V><<<blocks, block_threads, 0, q.stream>>>(logits.as<const T>(), maximum.as<const float>(),
                                                                    labels.as<const std::int64_t>(), first, vocabulary, rows, n,
                                                                    parts.as<float>(), q.faults);
    }, logits.as<T>());
    launched("cross_entropy_parts");
  });
}

void cross_entropy_parts_gradient(const execution& ex, view logits, view maximum, view labels, std::int64_t first, view dparts,
                                  view dlogits) {
  const index rows = logits.rows(), n = logits.columns();
  if (rows == 0) return;
  queue& q = queue_of(ex);
  visit_float("cross_entropy_parts_gradient", logits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    by_row<T>(q, rows, n, [&](auto g, auto v, unsigned blocks) {
      constexpr int G = decltype(g)::value, V = decltype(v)::value;
      parts_gradient_kernel<T, G, V><<<blocks, block_threads, 0, q.stream>>>(logits.as<const T>(), maximum.as<const float>(),
                                                                             labels.as<const std::int64_t>(), first,
                                                                             dparts.as<const float>(), rows, n, dlogits.as<T>());
    }, logits.as<T>(), dlogits.as<T>());
    launched("cross_entropy_parts_gradient");
  });
}

void cross_entropy_sum(const execution& ex, view parts, view labels, double factor, view loss) {
  if (parts.type != dtype::f32) unsupported("cross_entropy_sum", parts.type);
  loss_kernel<<<1, 1024, 0, queue_of(ex).stream>>>(parts.as<const float>(), labels.as<const std::int64_t>(), labels.size(), factor,
                                                   loss.as<float>());
  launched("cross_entropy_sum");
}

void cross_entropy_sum_gradient(const execution& ex, view parts, view labels, double factor, view dloss, view dparts) {
  if (parts.type != dtype::f32) unsupported("cross_entropy_sum_gradient", parts.type);
  const index rows = labels.size();
  each<1>(queue_of(ex), "cross_entropy_sum_gradient", rows,
          loss_gradient_op{parts.as<const float>(), labels.as<const std::int64_t>(), dloss.as<const float>(), factor, dparts.as<float>(),
                           rows});
}

}  // namespace plait::inline v0_1::cuda
