// Attention sinks: one logit a head more in attention's softmax, applied to what attention gave without it. A warp a query and head.
#include <cmath>

#include "plait/kernels/cuda/columns.cuh"
#include "plait/kernels/cuda/device.cuh"
#include "plait/kernels/cuda/ops.hpp"

namespace plait::inline v0_1::cuda {
namespace {

inline constexpr int row_warps = 8;

/// Row r is (b * queries + i) * heads + h; its log-sum stands at [b, h, i].
__device__ __forceinline__ index log_sum_at(index r, index queries, index heads) {
  const index h = r % heads, i = r / heads % queries, b = r / heads / queries;
  return (b * heads + h) * queries + i;
}

template <class T>
__global__ void __launch_bounds__(32 * row_warps)
    sinks_kernel(const T* sinks, T* out, float* lse, index rows, index queries, index heads, int width) {
  const index r = static_cast<index>(blockIdx.x) * row_warps + threadIdx.x / 32;
  if (r >= rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const index at = log_sum_at(r, queries, heads);
  const float log_sum = lse[at], sink = convert<float>(sinks[r % heads]), largest = fmaxf(log_sum, sink);
  const float whole = largest + logf(expf(log_sum - largest) + expf(sink - largest)), kept = expf(log_sum - whole);
  __syncwarp();  // all have read
  if (lane == 0) lse[at] = whole;
  for (int c = lane; c < width; c += 32) out[r * width + c] = convert<T>(kept * convert<float>(out[r * width + c]));
}

/// shares[b, i, h] = -exp(sink - lse) (out . dout)
template <class T>
__global__ void __launch_bounds__(32 * row_warps) sinks_gradient_kernel(const T* sinks, const T* out, const float* lse, const T* dout,
                                                                        float* shares, index rows, index queries, index heads, int width) {
  const index r = static_cast<index>(blockIdx.x) * row_warps + threadIdx.x / 32;
  if (r >= rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float sum = 0;
  for (int c = lane; c < width; c += 32) sum += convert<float>(out[r * width + c]) * convert<float>(dout[r * width + c]);
  sum = over_warp(sum, plus{});
  if (lane == 0) shares[r] = -expf(convert<float>(sinks[r % heads]) - lse[log_sum_at(r, queries, heads)]) * sum;
}

}  // namespace

void attention_sinks(const execution& ex, view sinks, view out, view lse) {
  const index rows = out.extent[0] * out.extent[1] * out.extent[2];
  if (rows == 0) return;
  visit_float("attention_sinks", out.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    sinks_kernel<T><<<blocks_for(rows, row_warps, 0x7fffffff), 32 * row_warps, 0, queue_of(ex).stream>>>(
        sinks.as<const T>(), out.as<T>(), lse.as<float>(), rows, out.extent[1], out.extent[2], static_cast<int>(out.extent[3]));
    launched("attention_sinks");
  });
}

void attention_sinks_gradient(const execution& ex, view sinks, view out, view lse, view dout, view dsinks) {
  const index heads = out.extent[2], tokens = out.extent[0] * out.extent[1], rows = tokens * heads;
  if (rows == 0) return;
  queue& q = queue_of(ex);
  const scratch shares(q, sizeof(float) * static_cast<std::size_t>(rows));
  visit_float("attention_sinks_gradient", out.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    sinks_gradient_kernel<T><<<blocks_for(rows, row_warps, 0x7fffffff), 32 * row_warps, 0, q.stream>>>(
        sinks.as<const T>(), out.as<const T>(), lse.as<const float>(), dout.as<const T>(), shares.as<float>(), rows, out.extent[1], heads,
        static_cast<int>(out.extent[3]));
    launched("attention_sinks_gradient");
  });
  add_columns(q, shares.as<const float>(), tokens, heads, nullptr, dsinks, true);
}

}  // namespace plait::inline v0_1::cuda
