#pragma once
// Host side of the copy engine: a three-dimensional tensor map with 128-byte swizzle, zeros outside its bounds.
#include <cstdint>

#include <cuda.h>
#include <cuda_runtime_api.h>

namespace plait::inline v0_1::kernels {

struct tensor_extent {
  std::uint64_t inner, middle, outer;  // innermost first
  std::uint64_t room = 0;              // elements of the middle dim that memory has a place for; 0: as many as it has
};

inline decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
  static const auto found = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult result{};
    const auto error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &result);
    return error == cudaSuccess && result == cudaDriverEntryPointSuccess ? entry : nullptr;
  }();
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found);
}

// Boxes of box_inner x box_middle x 1; box_inner elements must be 128 bytes.
inline bool encode_tensor_map(CUtensorMap& map, CUtensorMapDataType type, std::uint64_t element_bytes, const void* pointer,
                              tensor_extent extent, std::uint32_t box_inner, std::uint32_t box_middle) {
  const auto encode = tensor_map_encoder();
  if (encode == nullptr) return false;
  const cuuint64_t sizes[3] = {extent.inner, extent.middle, extent.outer};
  const cuuint64_t strides[2] = {extent.inner * element_bytes, extent.inner * (extent.room > 0 ? extent.room : extent.middle) * element_bytes};
  const cuuint32_t box[3] = {box_inner, box_middle, 1};
  const cuuint32_t step[3] = {1, 1, 1};
  return encode(&map, type, 3, const_cast<void*>(pointer), sizes, strides, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace plait::inline v0_1::kernels
