#pragma once
// Threads that start one operation together: none goes on before all have started theirs. GPUs driven by threads of one process need it.
// A collective that has begun on one GPU waits there for the others. If its thread then asks CUDA for something that waits for that GPU
// (a kernel's first use loads it, memory is mapped), CUDA may hold a lock of the process meanwhile, and another thread, which must load a
// kernel before it comes to the collective, waits for the lock: none of them ever goes on. (CUDA C++ Programming Guide, lazy loading.)
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace plait::inline v0_1 {

class launch_gate {
 public:
  explicit launch_gate(int members) : members_(static_cast<std::uint64_t>(members)) {}

  /// Call it after each operation; `number` counts them from 0, in the order that all members share. Returns when all members have
  /// called it with this number. `check` is called while it waits and throws when they will not come.
  template <class Check>
  void pass(std::uint64_t number, Check check) {
    arrived_.fetch_add(1, std::memory_order_acq_rel);
    const std::uint64_t all = (number + 1) * members_;  // nobody comes to the next operation before everyone has passed this one
    for (int turn = 0; arrived_.load(std::memory_order_acquire) < all; ++turn) {
      check();
      if (turn < 1000) std::this_thread::yield();
      else std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

 private:
  std::uint64_t members_;
  std::atomic<std::uint64_t> arrived_{0};
};

}  // namespace plait::inline v0_1
