#pragma once
// What the backend's kernels share: element types, vector access, sums over groups of threads, launches. All sums run in a fixed order.
#include <cuda_bf16.h>

#include <cstdint>
#include <type_traits>

#include "plait/kernels/cuda/queue.hpp"

namespace plait::inline v0_1::cuda {

using bf16 = __nv_bfloat16;
using index = long long;

template <class T>
struct type_tag {
  using type = T;
};

/// float32 and bf16: what models compute in.
template <class F>
void visit_float(const char* what, dtype type, F&& body) {
  if (type == dtype::f32) return body(type_tag<float>{});
  if (type == dtype::bf16) return body(type_tag<bf16>{});
  unsupported(what, type);
}
template <class F>
void visit_any(dtype type, F&& body) {
  switch (type) {
    case dtype::f32: return body(type_tag<float>{});
    case dtype::f64: return body(type_tag<double>{});
    case dtype::bf16: return body(type_tag<bf16>{});
    case dtype::i32: return body(type_tag<std::int32_t>{});
    case dtype::i64: return body(type_tag<std::int64_t>{});
    case dtype::u8: return body(type_tag<std::uint8_t>{});
  }
}

template <class To, class From>
__host__ __device__ __forceinline__ To convert(From value) {
  if constexpr (std::is_same_v<To, From>) return value;
  else if constexpr (std::is_same_v<To, bf16>) return __float2bfloat16_rn(static_cast<float>(value));
  else if constexpr (std::is_same_v<From, bf16>) return static_cast<To>(__bfloat162float(value));
  else return static_cast<To>(value);
}
/// The value as the activation type would hold it.
template <class T>
__device__ __forceinline__ float rounded(float value) {
  return convert<float>(convert<T>(value));
}

// --- vector access -------------------------------------------------------------------------------------------------

template <class T, int V>
struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) pack {
  T at[V];
};
template <int V, class T, class S>
__device__ __forceinline__ void load(const T* from, S (&to)[V]) {
  const pack<T, V> p = *reinterpret_cast<const pack<T, V>*>(from);
#pragma unroll
  for (int i = 0; i < V; ++i) to[i] = convert<S>(p.at[i]);
}
template <int V, class T, class S>
__device__ __forceinline__ void store(T* to, const S (&from)[V]) {
  pack<T, V> p;
#pragma unroll
  for (int i = 0; i < V; ++i) p.at[i] = convert<T>(from[i]);
  *reinterpret_cast<pack<T, V>*>(to) = p;
}
template <class... P>
bool aligned16(const P*... pointers) {
  return ((std::uintptr_t{0} | ... | reinterpret_cast<std::uintptr_t>(pointers)) & 15u) == 0;
}
/// Elements in 16 bytes.
template <class T>
inline constexpr int wide = 16 / static_cast<int>(sizeof(T));

/// Calls body(integral_constant<int, V>): V elements at once if rows of n elements at these pointers allow it, else one.
template <int V, class F, class... P>
void with_vector(index n, F&& body, const P*... pointers) {
  if (n % V == 0 && aligned16(pointers...)) body(std::integral_constant<int, V>{});
  else body(std::integral_constant<int, 1>{});
}

// --- sums and maxima over G threads: 32 (a warp) or the whole block of 256 -------------------------------------------

struct plus {
  template <class S>
  __device__ S operator()(S a, S b) const {
    return a + b;
  }
};
struct larger {
  template <class S>
  __device__ S operator()(S a, S b) const {
    return b > a ? b : a;
  }
};
inline constexpr int block_threads = 256;

template <class S, class Op>
__device__ __forceinline__ S over_warp(S value, Op op) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value = op(value, __shfl_xor_sync(~0u, value, step));
  return value;
}
/// Every thread gets the result. G = 256: all threads of the block must call it.
template <int G, class S, class Op>
__device__ __forceinline__ S over_group(S value, Op op) {
  value = over_warp(value, op);
  if constexpr (G > 32) {
    __shared__ S parts[G / 32];
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = parts[0];
#pragma unroll
    for (int w = 1; w < G / 32; ++w) value = op(value, parts[w]);
  }
  return value;
}

// --- launches ------------------------------------------------------------------------------------------------------

inline constexpr index most_blocks = 0x7fffffff;  // of a grid's first extent

/// `most`: of a kernel whose blocks go on with what is left; one whose blocks do not passes most_blocks.
inline unsigned blocks_for(index items, index per_block, index most = 1 << 20) {
  const index n = (items + per_block - 1) / per_block;
  return static_cast<unsigned>(n < 1 ? 1 : n > most ? most : n);
}

/// Element by element: Op::run<V>(i) handles elements i .. i + V - 1.
template <int V, class Op>
__global__ void __launch_bounds__(block_threads) each_kernel(Op op, index n) {
  const index thread = static_cast<index>(blockIdx.x) * block_threads + threadIdx.x, step = static_cast<index>(gridDim.x) * block_threads;
  for (index i = thread * V; i + V <= n; i += step * V) op.template run<V>(i);
  if constexpr (V > 1) {
    const index rest = n / V * V + thread;
    if (rest < n) op.template run<1>(rest);
  }
}
template <int V, class Op, class... P>
void each(queue& q, const char* what, index n, Op op, const P*... pointers) {
  if (n <= 0) return;
  const index most = 16ll * q.multiprocessors;
  if (V > 1 && aligned16(pointers...)) each_kernel<V, Op><<<blocks_for(n, V * block_threads, most), block_threads, 0, q.stream>>>(op, n);
  else each_kernel<1, Op><<<blocks_for(n, block_threads, most), block_threads, 0, q.stream>>>(op, n);
  launched(what);
}

/// Lets a kernel use more dynamic shared memory than needs no asking: 48 KiB with what it declares itself.
template <class Kernel>
void allow_shared(Kernel* kernel, std::size_t bytes, const char* what) {
  if (bytes > 16 * 1024) check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), what);
}

/// Notes a data error; the smallest row wins, so that the report does not depend on timing.
__device__ __forceinline__ void raise(unsigned long long* faults, fault kind, index row) {
  atomicMin(faults, static_cast<unsigned long long>(row) << 4 | static_cast<unsigned long long>(kind));
}

}  // namespace plait::inline v0_1::cuda
