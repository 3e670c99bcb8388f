#include "plait/kernels/cuda/queue.hpp"

#include "plait/kernels/per_device.hpp"

#include <cstring>

namespace plait::inline v0_1::cuda {

queue::queue() {
  poison = kernels::switched_on("PLAIT_POISON");
  check(cudaGetDevice(&device), "finding the GPU");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), "asking the GPU");
  int major = 0, minor = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "asking the GPU");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "asking the GPU");
  capability = 10 * major + minor;
  int bytes = 0;
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "asking the GPU");
  block_shared = static_cast<std::size_t>(bytes);
  if (kernels::portable_only()) capability = 80, block_shared = least_block_shared;
  if (const char* missing = blas_missing()) throw std::runtime_error(std::string("plait: CUDA: ") + missing);
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  for (cudaEvent_t& e : half_done) check(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "making an event");
  faults = static_cast<unsigned long long*>(memory.allocate(sizeof *faults));
  check(cudaMemsetAsync(faults, 0xff, sizeof *faults, stream), "clearing faults");
}

queue::~queue() {
  // Other queues may still copy out of this one's memory when a run ends by an exception.
  cudaDeviceSynchronize();
  if (staging != nullptr) cudaFreeHost(staging);
  for (cudaEvent_t e : half_done)
    if (e != nullptr) cudaEventDestroy(e);
  if (stream != nullptr) cudaStreamDestroy(stream);
}

void* queue::allocate(std::size_t bytes) {
  void* pointer = memory.allocate(bytes);
  if (poison && bytes > 0) check(cudaMemsetAsync(pointer, 0xff, bytes, stream), "poisoning memory");
  return pointer;
}

void queue::upload(void* to, const void* from, std::size_t bytes) {
  if (bytes > staging_half) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copying to the GPU");
    wait();
    return;
  }
  if (staging == nullptr) {  // taking it may wait for every device, so a queue that uploads nothing must not
    void* pinned = nullptr;
    check(cudaHostAlloc(&pinned, 2 * staging_half, cudaHostAllocDefault), "taking pinned memory");
    staging = static_cast<char*>(pinned);
  }
  if (staged + bytes > staging_half) {
    check(cudaEventRecord(half_done[half], stream), "recording an event");
    half = 1 - half;
    check(cudaEventSynchronize(half_done[half]), "waiting for a copy");  // not recorded yet: returns at once
    staged = 0;
  }
  char* at = staging + static_cast<std::size_t>(half) * staging_half + staged;
  std::memcpy(at, from, bytes);
  staged += (bytes + 255) / 256 * 256;
  check(cudaMemcpyAsync(to, at, bytes, cudaMemcpyHostToDevice, stream), "copying to the GPU");
}

}  // namespace plait::inline v0_1::cuda
