// The three products in terms of the instances: checks, operand roles, choice of tile.
#include <cstdint>

#include <cuda_runtime_api.h>

#include "plait/kernels/grouped_gemm.hpp"
#include "plait/kernels/grouped_gemm/arguments.hpp"
#include "plait/kernels/grouped_gemm/select.hpp"
#include "plait/kernels/per_device.hpp"

namespace plait::inline v0_1::kernels {
namespace {

using grouped_gemm::arguments;
using entry = const char* (*)(const arguments&);

constexpr int choices = static_cast<int>(tile_choice::count);
constexpr entry rows_k[choices] = {nullptr, grouped_gemm::rows_k_cooperative_256, grouped_gemm::rows_k_cooperative_192,
                                   grouped_gemm::rows_k_ping_pong_192, grouped_gemm::rows_k_ping_pong_128, nullptr, nullptr,
                                   grouped_gemm::rows_k_portable};
constexpr entry rows_n[choices] = {nullptr, grouped_gemm::rows_n_cooperative_256, grouped_gemm::rows_n_cooperative_192,
                                   grouped_gemm::rows_n_ping_pong_192, grouped_gemm::rows_n_ping_pong_128, nullptr, nullptr,
                                   grouped_gemm::rows_n_portable};
constexpr entry depth_mn[choices] = {nullptr, nullptr, nullptr, nullptr, nullptr, grouped_gemm::depth_ping_pong_192_update,
                                     grouped_gemm::depth_ping_pong_192_add, grouped_gemm::depth_portable};

struct device {
  int multiprocessors = 0;  // 0: none that can run the kernels
  bool hopper = false;
};

// The current device; asked once a thread and device.
device current_device() {
  static thread_local int known_number = -1;
  static thread_local device known;
  int number = 0;
  if (cudaGetDevice(&number) != cudaSuccess) return {};
  if (number == known_number) return known;
  int count = 0;
  int capability = 0;
  if (cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, number) != cudaSuccess) return {};
  if (cudaDeviceGetAttribute(&capability, cudaDevAttrComputeCapabilityMajor, number) != cudaSuccess) return {};
  known_number = number;
  known = {capability >= 8 ? count : 0, capability == 9 && !portable_only()};
  return known;
}

// The tables are for Hopper.
tile_choice known_choice(tile_choice tile) {
  return tile == tile_choice::automatic && !current_device().hopper ? tile_choice::portable : tile;
}

const char* check(const grouped_gemm_shape& shape, const void* a, const void* b, const void* d) {
  if (shape.layout.experts < 1 || shape.layout.experts > expert_layout::max_experts) return "grouped gemm: 1 to 512 experts";
  if (shape.in < 8 || shape.out < 8 || shape.in % 8 != 0 || shape.out % 8 != 0)
    return "grouped gemm: in and out must be positive multiples of 8";
  if (shape.total_rows < 0 || shape.total_rows > 0x7fffffff) return "grouped gemm: too many rows";
  if (shape.layout.table == nullptr) return "grouped gemm: no expert table";
  const auto bits = reinterpret_cast<std::uintptr_t>(a) | reinterpret_cast<std::uintptr_t>(b) | reinterpret_cast<std::uintptr_t>(d);
  if (bits % 16 != 0) return "grouped gemm: pointers must be aligned to 16 bytes";
  return nullptr;
}

const char* run(entry kernel, tile_choice tile, arguments call) {
  if (kernel == nullptr) return "grouped gemm: this tile is not built for this product";
  const device here = current_device();
  call.multiprocessors = here.multiprocessors;
  if (here.multiprocessors == 0) return "grouped gemm: needs a device of compute capability 8.0 or later";
  if (!here.hopper && tile != tile_choice::portable) return "grouped gemm: this tile needs a device of compute capability 9.0";
  return kernel(call);
}

// D[rows of an expert, columns]; b_along_depth: B's memory rows run along the contraction.
const char* rows_product(const grouped_gemm_shape& shape, const void* a, const void* b, void* d, int columns, int depth,
                         bool b_along_depth, CUstream_st* stream, tile_choice tile) {
  if (const char* wrong = check(shape, a, b, d)) return wrong;
  if (shape.total_rows == 0) return nullptr;
  tile = known_choice(tile);
  if (tile == tile_choice::automatic) {
    const auto mean = shape.total_rows / shape.layout.experts;
    tile = b_along_depth ? grouped_gemm::select_tile(grouped_gemm::rows_k_rules, mean, columns, depth)
                         : grouped_gemm::select_tile(grouped_gemm::rows_n_rules, mean, columns, depth);
  }
  const auto index = static_cast<int>(tile);
  return run(b_along_depth ? rows_k[index] : rows_n[index], tile,
             {a, b, d, shape.layout, shape.total_rows, 0, columns, depth, false, shape.queue, 0, stream});
}

}  // namespace

const char* grouped_forward(const grouped_gemm_shape& shape, const void* x, const void* w, void* y, CUstream_st* stream,
                            tile_choice tile) {
  return rows_product(shape, x, w, y, shape.out, shape.in, shape.weights == weight_layout::out_in, stream, tile);
}

const char* grouped_input_gradient(const grouped_gemm_shape& shape, const void* dy, const void* w, void* dx, CUstream_st* stream,
                                   tile_choice tile) {
  return rows_product(shape, dy, w, dx, shape.in, shape.out, shape.weights == weight_layout::in_out, stream, tile);
}

const char* grouped_weight_gradient(const grouped_gemm_shape& shape, const void* dy, const void* x, float* dw, bool accumulate,
                                    CUstream_st* stream, tile_choice tile) {
  if (const char* wrong = check(shape, dy, x, dw)) return wrong;
  if (shape.total_rows == 0) {
    if (accumulate) return nullptr;
    const auto bytes = sizeof(float) * static_cast<std::size_t>(shape.layout.experts) * shape.in * shape.out;
    const auto error = cudaMemsetAsync(dw, 0, bytes, stream);
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
  }
  const bool out_in = shape.weights == weight_layout::out_in;
  const int rows = out_in ? shape.out : shape.in;
  const int columns = out_in ? shape.in : shape.out;
  tile = known_choice(tile);
  if (tile == tile_choice::automatic)
    tile = grouped_gemm::select_tile(grouped_gemm::depth_rules, shape.total_rows / shape.layout.experts, columns, rows);
  return run(depth_mn[static_cast<int>(tile)], tile, {out_in ? dy : x, out_in ? x : dy, dw, shape.layout, shape.total_rows, rows, columns,
                                                0, accumulate, shape.queue, 0, stream});
}

}  // namespace plait::inline v0_1::kernels
