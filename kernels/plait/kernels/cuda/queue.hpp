#pragma once
// What stands behind execution::queue: a stream and what belongs to it. Host code; one thread uses a queue.
#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>

#include "plait/kernels/cuda/arena.hpp"
#include "plait/kernels/cuda/blas.hpp"
#include "plait/kernels/cuda/interruption.hpp"
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1::cuda {

/// Throws if CUDA reports an error.
inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("plait: CUDA: ") + what + ": " + cudaGetErrorString(error));
}
/// After a kernel launch.
inline void launched(const char* what) { check(cudaGetLastError(), what); }

/// A dtype that the typed ops never pass down, or a combination that is not built.
[[noreturn]] inline void unsupported(const char* what, dtype type) {
  throw std::runtime_error(std::string("plait: the CUDA backend's ") + what + " does not take " + name_of(type));
}

struct queue {
  cudaStream_t stream = nullptr;
  arena memory;
  bool poison = false;
  int device = 0, multiprocessors = 1, capability = 0;  // capability: 90 for 9.0
  std::size_t block_shared = 0;                         // shared memory that a block may ask for

  // The smallest (row, kind) of any fault found, as one word, so that which one is reported does not depend on timing.
  unsigned long long* faults = nullptr;

  // Pinned memory on the way to the device, in two halves that take turns.
  char* staging = nullptr;
  std::size_t staged = 0;  // bytes used of the present half
  int half = 0;
  cudaEvent_t half_done[2] = {};

  blas_plans products;
  void* product_workspace = nullptr;
  unsigned* grouped_words = nullptr;

  queue();
  ~queue();
  queue(const queue&) = delete;
  queue& operator=(const queue&) = delete;

  void* allocate(std::size_t bytes);
  /// Copies from pageable memory, which may be reused at once, without waiting for the stream where it fits the staging memory.
  void upload(void* to, const void* from, std::size_t bytes);
  interruption* watched_by = nullptr;  // null: nothing runs that could fail elsewhere
  void wait() {
    check(cudaStreamSynchronize(stream), "waiting for the queue");
    if (watched_by != nullptr) watched_by->check();
  }
};

/// Has everything before the mark run? Null: no.
bool has_reached(void* mark);

/// What a block may ask for on every device from compute capability 8.0 on (8.6, 8.9 and 12.0 give no more).
inline constexpr std::size_t least_block_shared = std::size_t{99} << 10;
inline constexpr std::size_t staging_half = std::size_t{2} << 20;
inline constexpr std::size_t product_workspace_bytes = std::size_t{32} << 20;

inline queue& queue_of(const execution& ex) {
  if (ex.queue == nullptr) throw std::logic_error("plait: the CUDA backend was called without a queue");
  return *static_cast<queue*>(ex.queue);
}

/// Does the pointer name ordinary host memory?
inline bool on_host(const void* pointer) {
  cudaPointerAttributes a{};
  check(cudaPointerGetAttributes(&a, pointer), "looking at a pointer");
  return a.type == cudaMemoryTypeUnregistered || a.type == cudaMemoryTypeHost;
}

/// Device memory for the time of a call.
class scratch {
 public:
  scratch(queue& q, std::size_t bytes) : q_(&q), data_(q.allocate(bytes)) {}
  scratch(const scratch&) = delete;
  scratch& operator=(const scratch&) = delete;
  ~scratch() { q_->memory.release(data_); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  queue* q_;
  void* data_;
};

}  // namespace plait::inline v0_1::cuda
