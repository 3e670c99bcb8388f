#pragma once
// Owners of a backend's queues and marks. On a backend that works at once both are null and cost nothing.
#include <utility>

#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {

/// The queue of one rank; whatever was allocated on it must be gone first.
class queue_owner {
 public:
  explicit queue_owner(const backend& b) : backend_(&b), queue_(b.open_queue()) {}
  queue_owner(const queue_owner&) = delete;
  queue_owner& operator=(const queue_owner&) = delete;
  ~queue_owner() { backend_->close_queue(queue_); }
  void* get() const { return queue_; }

 private:
  const backend* backend_;
  void* queue_;
};

/// A place in a queue that others can wait for.
class queue_mark {
 public:
  queue_mark() = default;
  queue_mark(const backend& b, const execution& at) : backend_(&b), mark_(b.mark(at)) {}
  queue_mark(queue_mark&& other) noexcept : backend_(other.backend_), mark_(std::exchange(other.mark_, nullptr)) {}
  queue_mark& operator=(queue_mark&& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(mark_, other.mark_);
    return *this;
  }
  ~queue_mark() {
    if (mark_ != nullptr) backend_->release_mark(mark_);
  }
  void* get() const { return mark_; }
  /// What `later` queues from here on runs after the mark.
  void wait(const execution& later) const {
    if (mark_ != nullptr) backend_->wait_mark(later, mark_);
  }

 private:
  const backend* backend_ = nullptr;
  void* mark_ = nullptr;
};

}  // namespace plait::inline v0_1
