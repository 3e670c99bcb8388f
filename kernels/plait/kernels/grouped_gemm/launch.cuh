#pragma once
// Host side of one kernel instance: tensor maps, grid, launch. No allocation, no synchronisation; can be captured in a graph.
#include <cuda_runtime_api.h>

#include "plait/kernels/grouped_gemm/arguments.hpp"
#include "plait/kernels/grouped_gemm/kernel.cuh"
#include "plait/kernels/per_device.hpp"
#include "plait/kernels/tensor_map.cuh"

namespace plait::inline v0_1::kernels::grouped_gemm {

template <class Config>
bool encode_maps(problem& p, const arguments& call) {
  constexpr auto bf16 = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const auto total = static_cast<std::uint64_t>(call.total_rows);
  const auto rows = static_cast<std::uint64_t>(call.rows);
  const auto columns = static_cast<std::uint64_t>(call.columns);
  const auto depth = static_cast<std::uint64_t>(call.depth);
  const auto experts = static_cast<std::uint64_t>(call.layout.experts);
  if constexpr (Config::halves_middle) {
    const tensor_extent extent = Config::ragged_depth ? tensor_extent{columns, total, 1} : tensor_extent{columns, depth, experts};
    if (!encode_tensor_map(p.b_half, bf16, 2, call.b, extent, 64, 32)) return false;
  }
  if constexpr (Config::ragged_depth) {
    return encode_tensor_map(p.a, bf16, 2, call.a, {rows, total, 1}, 64, 64) &&
           encode_tensor_map(p.b, bf16, 2, call.b, {columns, total, 1}, 64, 64) &&
           encode_tensor_map(p.d, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, call.d, {columns, rows, experts}, 32, 64);
  } else {
    const bool b = Config::b_major == major::k
                       ? encode_tensor_map(p.b, bf16, 2, call.b, {depth, columns, experts}, 64, Config::columns / Config::cluster)
                       : encode_tensor_map(p.b, bf16, 2, call.b, {columns, depth, experts}, 64, 64);
    if constexpr (Config::exchanges) {
      if (!encode_tensor_map(p.a_half, bf16, 2, call.a, {depth, total, 1}, 64, 32)) return false;
      if (Config::b_major == major::k && !encode_tensor_map(p.b_box, bf16, 2, call.b, {depth, columns, experts}, 64, 64)) return false;
    }
    return b && encode_tensor_map(p.a, bf16, 2, call.a, {depth, total, 1}, 64, 64) &&
           encode_tensor_map(p.d, bf16, 2, call.d, {columns, total, 1}, 64, 64);
  }
}

template <class Config>
const char* launch(const arguments& call) {
  const cudaError_t prepared =
      once_a_device([] { return cudaFuncSetAttribute(run<Config>, cudaFuncAttributeMaxDynamicSharedMemorySize, Config::shared_bytes); });
  if (prepared != cudaSuccess) return cudaGetErrorString(prepared);
  problem p;
  if (!encode_maps<Config>(p, call)) return "grouped gemm: the driver refused a tensor map (sizes or alignment)";
  p.d_pointer = call.d;
  p.layout = call.layout;
  p.rows = call.rows;
  p.columns = call.columns;
  p.depth = call.depth;
  p.accumulate = call.accumulate;
  p.queue = call.queue;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = Config::cluster;
  attribute.val.clusterDim.y = 1;
  attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t launch{};
  launch.gridDim = dim3(static_cast<unsigned>(call.multiprocessors / Config::cluster * Config::cluster));
  launch.blockDim = dim3(Config::threads);
  launch.dynamicSmemBytes = Config::shared_bytes;
  launch.stream = call.stream;
  launch.attrs = &attribute;
  launch.numAttrs = 1;
  void* parameters[] = {&p};
  const cudaError_t error = cudaLaunchKernelExC(&launch, reinterpret_cast<const void*>(run<Config>), parameters);
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace plait::inline v0_1::kernels::grouped_gemm
