#pragma once
// Memory of one tensor, owned by whoever holds a reference.
#include <cstddef>
#include <cstdint>
#include <memory>

#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {

/// Bytes held and the highest value they reached.
struct memory_meter {
  std::int64_t live = 0, peak = 0;
  void add(std::int64_t bytes) {
    live += bytes;
    if (live > peak) peak = live;
  }
};

class buffer {
 public:
  buffer(const backend& b, void* queue, std::size_t bytes, memory_meter* meter = nullptr)
      : backend_(&b), queue_(queue), bytes_(bytes), data_(b.allocate(queue, bytes)), meter_(meter) {
    if (meter_ != nullptr) meter_->add(static_cast<std::int64_t>(bytes));
  }
  buffer(const buffer&) = delete;
  buffer& operator=(const buffer&) = delete;
  ~buffer() {
    backend_->release(queue_, data_, bytes_);
    if (meter_ != nullptr) meter_->add(-static_cast<std::int64_t>(bytes_));
  }
  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  const backend* backend_;
  void* queue_;
  std::size_t bytes_;
  void* data_;
  memory_meter* meter_;
};

}  // namespace plait::inline v0_1
