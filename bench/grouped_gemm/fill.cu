// Normal random numbers in bfloat16.
#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

__global__ void fill(std::uint16_t* data, std::size_t count, std::uint64_t seed) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count; i += std::size_t{gridDim.x} * blockDim.x) {
    std::uint64_t z = i * 0x9e3779b97f4a7c15ull + seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    const float u = (static_cast<float>(z & 0xffffff) + 0.5f) / 16777216.0f;
    const float v = static_cast<float>((z >> 24) & 0xffffff) / 16777216.0f;
    data[i] = static_cast<std::uint16_t>(__float_as_uint(sqrtf(-2.0f * logf(u)) * cospif(2.0f * v)) >> 16);
  }
}

void fill_normal(std::uint16_t* data, std::size_t count, std::uint64_t seed) { fill<<<1056, 256>>>(data, count, seed); }
