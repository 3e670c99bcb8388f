#pragma once
// What carries collectives between the ranks of a run (memory of one process, sockets, NCCL), and how one rank's body runs over it.
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "plait/comm/communicator.hpp"
#include "plait/runtime/context.hpp"
#include "plait/runtime/queue.hpp"

namespace plait::inline v0_1 {

/// Thrown on ranks that were waiting when another one failed.
struct rank_released : std::runtime_error {
  rank_released() : std::runtime_error("plait: released, because another rank failed") {}
};

/// The ranks of the group of `mask` that `rank` belongs to, in their order; `position`: its own place.
inline std::vector<int> group_members(const mesh_shape& mesh, int rank, std::uint32_t mask, int& position) {
  int at[max_atoms] = {};
  mesh.coordinates(rank, at);
  std::vector<int> members(static_cast<std::size_t>(mesh.group_size(mask)));
  for (std::size_t m = 0; m < members.size(); ++m) {
    int rest = static_cast<int>(m);
    for (int a = mesh.atoms - 1; a >= 0; --a)
      if (mask >> a & 1u) {
        at[a] = rest % mesh.size[a];
        rest /= mesh.size[a];
      }
    members[m] = mesh.rank_of(at);
    if (members[m] == rank) position = static_cast<int>(m);
  }
  return members;
}

class rank_fabric {
 public:
  virtual ~rank_fabric() = default;
  /// In the rank's own thread, before its queue is opened.
  virtual void enter(int rank) { static_cast<void>(rank); }
  virtual std::unique_ptr<communicator_source> open(int rank) = 0;
  /// The rank's body has returned normally.
  virtual void leave(int rank) = 0;
  /// The rank's body has thrown; `released`: only because another rank had.
  void fail(int rank, std::exception_ptr why, bool released) {
    {
      std::lock_guard lock(first_mutex_);
      if (first_ == nullptr || (first_is_release_ && !released)) {
        first_ = why;
        first_is_release_ = released;
      }
    }
    stop(rank, why);
  }
  /// The first exception of any rank, if there was one.
  void rethrow() const {
    if (first_ != nullptr) std::rethrow_exception(first_);
  }

 protected:
  /// Releases the other ranks.
  virtual void stop(int rank, std::exception_ptr why) = 0;

 private:
  std::mutex first_mutex_;
  bool first_is_release_ = false;
  std::exception_ptr first_;
};

/// Runs body(context&) for the ranks [first, first + count) of `mesh`, each in a thread of its own (in this one if there is only one),
/// and rethrows the first exception of any of them after all have stopped.
template <class Body>
void run_ranks_over(rank_fabric& fabric, const mesh_shape& mesh, const backend& ops, int first, int count, Body body) {
  const auto one = [&](int rank) {
    try {
      fabric.enter(rank);
      const std::unique_ptr<communicator_source> communicators = fabric.open(rank);
      fault_record faults;
      const queue_owner queue(ops);
      context c;
      c.ops = &ops;
      c.exec.queue = queue.get();
      c.exec.faults = &faults;
      c.mesh = mesh;
      c.rank = rank;
      mesh.coordinates(rank, c.coordinate);
      c.communicators = communicators.get();
      const auto failed = [&](bool released) { fabric.fail(rank, std::current_exception(), released); };
      try {
        body(c);
        fabric.leave(rank);
      } catch (const rank_released&) {  // at once: what is torn down from here on may wait for the others
        failed(true);
      } catch (...) {
        failed(false);
      }
    } catch (const rank_released&) {
      fabric.fail(rank, std::current_exception(), true);
    } catch (...) {
      fabric.fail(rank, std::current_exception(), false);
    }
  };
  if (count == 1) {
    one(first);
  } else {
    std::vector<std::thread> threads;
    for (int r = first; r < first + count; ++r) threads.emplace_back(one, r);
    for (std::thread& t : threads) t.join();
  }
  fabric.rethrow();
}

}  // namespace plait::inline v0_1
