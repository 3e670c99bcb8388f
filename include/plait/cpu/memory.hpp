#pragma once
// Allocation, copies and fills.
#include <cmath>
#include <new>

#include "plait/cpu/numbers.hpp"
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {

/// Debug switch: fill fresh memory with 0xFF bytes (a NaN in every float type), so that reads before writes show.
inline bool& poison_allocations() {
  static bool on = false;
  return on;
}

namespace cpu_detail {

inline constexpr std::align_val_t alignment{64};

// Ops run at once: there is no queue, nothing to wait for, and faults are where they are read.
inline void* open_queue() { return nullptr; }
inline void close_queue(void*) {}
inline void* mark(const execution&) { return nullptr; }
inline void wait_mark(const execution&, void*) {}
inline void release_mark(void*) {}
inline void clear_faults(const execution& ex) {
  if (ex.faults != nullptr) ex.faults->clear();
}
inline void read_faults(const execution&) {}

inline void* allocate(void*, std::size_t bytes) {
  if (bytes == 0) bytes = 1;  // a pointer of its own even for nothing
  void* pointer = ::operator new(bytes, alignment);
  if (poison_allocations()) std::memset(pointer, 0xff, bytes);
  return pointer;
}

inline void release(void*, void* pointer, std::size_t) {
  if (pointer) ::operator delete(pointer, alignment);
}

inline void copy(const execution&, void* to, const void* from, std::size_t bytes) {
  if (bytes > 0 && to != from) std::memmove(to, from, bytes);
}

inline void copy_box(const execution&, void* to, const index* to_extent, const index* to_start, const void* from,
                     const index* from_extent, const index* from_start, const index* count, int rank, std::size_t element) {
  for (int d = 0; d < rank; ++d) {
    if (count[d] <= 0) return;
  }
  index to_stride[max_rank + 1] = {}, from_stride[max_rank + 1] = {};
  index to_at = 0, from_at = 0, to_step = 1, from_step = 1;
  for (int d = rank - 1; d >= 0; --d) {
    to_stride[d] = to_step;
    from_stride[d] = from_step;
    to_at += to_start[d] * to_step;
    from_at += from_start[d] * from_step;
    to_step *= to_extent[d];
    from_step *= from_extent[d];
  }
  // The longest run that is contiguous on both sides: the last dim, and those before it while the box spans whole rows.
  index run = 1;
  int outer = rank;
  while (outer > 0) {
    --outer;
    run *= count[outer];
    if (count[outer] != to_extent[outer] || count[outer] != from_extent[outer]) break;
  }
  const std::size_t run_bytes = static_cast<std::size_t>(run) * element;
  char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
  index position[max_rank] = {};
  for (;;) {
    std::memcpy(target + static_cast<std::size_t>(to_at) * element, source + static_cast<std::size_t>(from_at) * element,
                run_bytes);
    int d = outer - 1;
    for (; d >= 0; --d) {
      to_at += to_stride[d];
      from_at += from_stride[d];
      if (++position[d] < count[d]) break;
      to_at -= count[d] * to_stride[d];
      from_at -= count[d] * from_stride[d];
      position[d] = 0;
    }
    if (d < 0) return;
  }
}

inline void fill(const execution&, view out, double value) {
  const index n = out.size();
  if (n == 0) return;
  if (value == 0 && !std::signbit(value)) {
    std::memset(out.data, 0, out.bytes());
    return;
  }
  visit_any(out.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = out.as<T>();
    const T v = convert<T>(value);
    for (index i = 0; i < n; ++i) to[i] = v;
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
