#pragma once
// Per-thread scratch memory, and the loop over independent tasks on several threads.
#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "plait/cpu/numbers.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

/// One reusable buffer per use, so that nested users (attention calls the matmul) never share one.
enum class slot : int { pack_a, pack_b, tile, scores, score_gradients, keys, values, block, row1, row2, row3, columns, count };

class scratch_space {
 public:
  scratch_space() = default;
  scratch_space(const scratch_space&) = delete;
  scratch_space& operator=(const scratch_space&) = delete;
  ~scratch_space() {
    for (buffer& b : buffers_) discard(b);
  }

  void* get(slot which, std::size_t bytes) {
    buffer& b = buffers_[static_cast<int>(which)];
    if (b.bytes < bytes) {
      discard(b);
      const std::size_t grown = bytes + bytes / 4 + 256;
      b.data = ::operator new (grown, std::align_val_t{64});
      b.bytes = grown;
    }
    return b.data;
  }

 private:
  struct buffer {
    void* data = nullptr;
    std::size_t bytes = 0;
  };
  static void discard(buffer& b) {
    if (b.data) ::operator delete (b.data, std::align_val_t{64});
    b = buffer{};
  }
  buffer buffers_[static_cast<int>(slot::count)];
};

inline scratch_space& thread_scratch() {
  static thread_local scratch_space space;
  return space;
}

/// Uninitialised room for `n` elements, valid until this thread asks for the same slot again. Never null.
template <class S>
S* scratch(slot which, index n) {
  return static_cast<S*>(thread_scratch().get(which, static_cast<std::size_t>(n > 0 ? n : 1) * sizeof(S)));
}

/// `from` itself if it already is of type S, else a converted copy in scratch.
template <class S, class T>
const S* row_as(const T* from, index n, slot which) {
  if constexpr (std::is_same_v<S, T>) {
    return from;
  } else {
    S* to = scratch<S>(which, n);
    convert_row(from, to, n);
    return to;
  }
}

/// Work smaller than this many floating-point operations stays on the calling thread.
inline constexpr double parallel_threshold = 4e6;

/// Runs body(0) .. body(tasks - 1), in any order, on at most `threads` threads. Tasks must write to disjoint places.
template <class F>
void parallel_for(index tasks, int threads, const F& body) {
  if (threads <= 1 || tasks <= 1) {
    for (index t = 0; t < tasks; ++t) body(t);
    return;
  }
  std::atomic<index> next{0};
  const auto work = [&] {
    for (index t = next.fetch_add(1); t < tasks; t = next.fetch_add(1)) body(t);
  };
  const index helpers = (tasks < threads ? tasks : threads) - 1;
  std::vector<std::thread> team;
  team.reserve(static_cast<std::size_t>(helpers));
  try {
    for (index t = 0; t < helpers; ++t) team.emplace_back(work);
  } catch (const std::system_error&) {
    // No more threads to be had: those that started, and this one, do the work.
  }
  work();
  for (std::thread& t : team) t.join();
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
