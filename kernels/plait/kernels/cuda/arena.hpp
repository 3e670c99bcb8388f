#pragma once
// Memory of one stream: cudaMalloc'd segments, cut into blocks and merged again. Released blocks are handed out at once, which is right
// because the stream runs in order. Used by one thread.
#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>

namespace plait::inline v0_1::cuda {

class arena {
 public:
  arena() = default;
  arena(const arena&) = delete;
  arena& operator=(const arena&) = delete;
  ~arena();

  /// At least one byte, aligned to 512. Throws std::bad_alloc.
  void* allocate(std::size_t bytes);
  void release(void* pointer);
  std::size_t held_bytes() const { return held_; }

 private:
  struct block {
    char* at;
    std::size_t bytes;
    bool free, small;
    block* before;  // neighbours in the segment
    block* after;
  };
  struct by_size {
    bool operator()(const block* a, const block* b) const { return a->bytes != b->bytes ? a->bytes < b->bytes : a->at < b->at; }
  };
  block* add_segment(std::size_t bytes, bool small);
  void return_segments();
  void absorb(block* into, block* next);

  std::set<block*, by_size> free_[2];  // large, small: small tensors that live long must not pin large segments
  std::unordered_map<void*, block*> used_;
  std::size_t held_ = 0;
};

}  // namespace plait::inline v0_1::cuda
