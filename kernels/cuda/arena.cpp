#include "plait/kernels/cuda/arena.hpp"

#include <cuda_runtime_api.h>

#include <new>
#include <vector>

namespace plait::inline v0_1::cuda {
namespace {

constexpr std::size_t grain = 512, small_limit = std::size_t{1} << 20, small_segment = std::size_t{4} << 20,
                      large_segment = std::size_t{64} << 20, large_grain = std::size_t{2} << 20;

std::size_t rounded(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

}  // namespace

arena::~arena() {
  std::vector<block*> all;
  for (auto& set : free_) all.insert(all.end(), set.begin(), set.end());
  for (auto& [at, b] : used_) all.push_back(b);
  for (block* b : all)
    if (b->before == nullptr) cudaFree(b->at);
  for (block* b : all) delete b;
}

arena::block* arena::add_segment(std::size_t bytes, bool small) {
  const std::size_t size = small ? small_segment : bytes > large_segment ? rounded(bytes, large_grain) : large_segment;
  void* at = nullptr;
  if (cudaMalloc(&at, size) != cudaSuccess) {
    cudaGetLastError();
    return_segments();
    if (cudaMalloc(&at, size) != cudaSuccess) {
      cudaGetLastError();
      throw std::bad_alloc();
    }
  }
  held_ += size;
  return new block{static_cast<char*>(at), size, true, small, nullptr, nullptr};
}

/// Gives whole free segments back to CUDA (cudaFree waits for the device).
void arena::return_segments() {
  for (auto& set : free_)
    for (auto it = set.begin(); it != set.end();) {
      block* b = *it;
      if (b->before != nullptr || b->after != nullptr) {
        ++it;
        continue;
      }
      cudaFree(b->at);
      held_ -= b->bytes;
      it = set.erase(it);
      delete b;
    }
}

void* arena::allocate(std::size_t bytes) {
  bytes = rounded(bytes > 0 ? bytes : 1, grain);
  const bool small = bytes < small_limit;
  auto& set = free_[small];
  block wanted{nullptr, bytes, true, small, nullptr, nullptr};
  block* b;
  if (const auto found = set.lower_bound(&wanted); found != set.end()) {
    b = *found;
    set.erase(found);
  } else {
    b = add_segment(bytes, small);
  }
  if (b->bytes > bytes) {
    block* rest = new block{b->at + bytes, b->bytes - bytes, true, small, b, b->after};
    if (b->after != nullptr) b->after->before = rest;
    b->after = rest;
    b->bytes = bytes;
    set.insert(rest);
  }
  b->free = false;
  used_[b->at] = b;
  return b->at;
}

void arena::absorb(block* into, block* next) {
  into->bytes += next->bytes;
  into->after = next->after;
  if (next->after != nullptr) next->after->before = into;
  delete next;
}

void arena::release(void* pointer) {
  if (pointer == nullptr) return;
  const auto found = used_.find(pointer);
  if (found == used_.end()) return;
  block* b = found->second;
  used_.erase(found);
  b->free = true;
  auto& set = free_[b->small];
  if (block* next = b->after; next != nullptr && next->free) {
    set.erase(next);
    absorb(b, next);
  }
  if (block* previous = b->before; previous != nullptr && previous->free) {
    set.erase(previous);
    absorb(previous, b);
    b = previous;
  }
  set.insert(b);
}

}  // namespace plait::inline v0_1::cuda
