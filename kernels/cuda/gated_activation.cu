// Gated activations other than plain SwiGLU: clamped, with alternating columns. A thread a pair.
#include "plait/kernels/cuda/device.cuh"
#include "plait/kernels/cuda/ops.hpp"

namespace plait::inline v0_1::cuda {
namespace {

struct gate_numbers {
  float alpha, offset, limit;
  bool limited, interleaved;
};
struct gate_terms {
  float gate, up, sigmoid;
  bool gate_free, up_free;  // not clamped
};
__device__ __forceinline__ gate_terms terms_of(float g, float u, const gate_numbers& o) {
  gate_terms t{g, u, 0, !o.limited || !(g > o.limit), !o.limited || !(u > o.limit || u < -o.limit)};  // a NaN stays one
  if (!t.gate_free) t.gate = o.limit;
  if (!t.up_free) t.up = u > o.limit ? o.limit : -o.limit;
  t.sigmoid = 1.0f / (1.0f + expf(-o.alpha * t.gate));
  t.up += o.offset;
  return t;
}
/// Where the gate of pair `at` lies; its up is `step` behind it.
__device__ __forceinline__ index gate_at(index at, index n, const gate_numbers& o, index& step) {
  step = o.interleaved ? 1 : n;
  return at / n * 2 * n + (o.interleaved ? 2 * (at % n) : at % n);
}

template <class T>
__global__ void __launch_bounds__(block_threads) gated_kernel(const T* packed, gate_numbers o, T* y, index count, index n) {
  for (index at = static_cast<index>(blockIdx.x) * block_threads + threadIdx.x; at < count;
       at += static_cast<index>(gridDim.x) * block_threads) {
    index step;
    const index g = gate_at(at, n, o, step);
    const gate_terms t = terms_of(convert<float>(packed[g]), convert<float>(packed[g + step]), o);
    y[at] = convert<T>(t.up * (t.gate * t.sigmoid));
  }
}
template <class T>
__global__ void __launch_bounds__(block_threads)
    gated_gradient_kernel(const T* packed, const T* dy, gate_numbers o, T* dpacked, index count, index n) {
  for (index at = static_cast<index>(blockIdx.x) * block_threads + threadIdx.x; at < count;
       at += static_cast<index>(gridDim.x) * block_threads) {
    index step;
    const index g = gate_at(at, n, o, step);
    const gate_terms t = terms_of(convert<float>(packed[g]), convert<float>(packed[g + step]), o);
    const float d = convert<float>(dy[at]), slope = t.sigmoid * (1.0f + o.alpha * t.gate * (1.0f - t.sigmoid));
    dpacked[g] = convert<T>(t.gate_free ? d * t.up * slope : 0.0f);
    dpacked[g + step] = convert<T>(t.up_free ? d * (t.gate * t.sigmoid) : 0.0f);
  }
}
gate_numbers numbers_of(const gated_options& o) {
  return {static_cast<float>(o.alpha), static_cast<float>(o.offset), static_cast<float>(o.limit), o.limit != 0, o.interleaved};
}

}  // namespace

void gated(const execution& ex, view packed, const gated_options& o, view y) {
  if (y.size() == 0) return;
  visit_float("swiglu", packed.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    gated_kernel<T><<<blocks_for(y.size(), block_threads), block_threads, 0, queue_of(ex).stream>>>(packed.as<const T>(), numbers_of(o),
                                                                                                 y.as<T>(), y.size(), y.columns());
    launched("swiglu");
  });
}
void gated_gradient(const execution& ex, view packed, view dy, const gated_options& o, view dpacked) {
  if (dy.size() == 0) return;
  visit_float("swiglu_gradient", packed.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    gated_gradient_kernel<T><<<blocks_for(dy.size(), block_threads), block_threads, 0, queue_of(ex).stream>>>(
        packed.as<const T>(), dy.as<const T>(), numbers_of(o), dpacked.as<T>(), dy.size(), dy.columns());
    launched("swiglu_gradient");
  });
}

}  // namespace plait::inline v0_1::cuda
