#pragma once
// One rank's end of a group, through NCCL: a communicator and a queue of its own, so that collectives run beside the rank's computation.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "plait/comm/launch_gate.hpp"
#include "plait/kernels/cuda/interruption.hpp"
#include "plait/kernels/cuda/nccl_library.hpp"
#include "plait/kernels/cuda/queue.hpp"
#include "plait/kernels/nccl.hpp"
#include "plait/runtime/queue.hpp"

namespace plait::inline v0_1::cuda {

class nccl_communicator;

/// What the communicators of one process have in common: who they belong to, and whether the run has failed.
class nccl_run : public interruption {
 public:
  explicit nccl_run(nccl_options options) : options_(options) {}
  ~nccl_run() override { stop_watching(); }
  nccl_run(const nccl_run&) = delete;
  nccl_run& operator=(const nccl_run&) = delete;

  const nccl_options& options() const { return options_; }
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  /// Ends the run: everything that NCCL does is aborted, by the watching thread. The first reason counts. Calls no CUDA.
  void fail(const std::string& why);
  void check() override {
    if (failed()) throw_failure();
  }
  [[noreturn]] virtual void throw_failure() = 0;

  /// Texts by name, set by one rank and read by others. `get` waits.
  virtual void set(const std::string& name, const std::string& value) = 0;
  virtual std::string get(const std::string& name) = 0;

  /// What the members of a group that are threads of this process pass after each launch; null where each has a process of its own.
  virtual std::shared_ptr<launch_gate> gate(const std::string&, int /*members*/) { return nullptr; }

  void add(nccl_communicator& c);
  /// Returns when nobody looks at it any more.
  void remove(nccl_communicator& c);

 protected:
  /// Tells the other ranks; on the thread that noticed.
  virtual void failed_here(const std::string& why) = 0;
  std::string reason() const {
    std::lock_guard lock(mutex_);
    return reason_;
  }
  void stop_watching();

 private:
  void watch();
  void abort_all();

  nccl_options options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<nccl_communicator*> communicators_;
  std::string reason_;
  std::atomic<bool> failed_{false};
  bool failing_ = false, aborted_ = false, ending_ = false;
  std::thread watcher_;
};

class nccl_communicator final : public any_communicator {
 public:
  /// Collective over the group: all its `members` (ranks of the run) must make theirs. `key` names the group among all groups.
  nccl_communicator(nccl_run& run, const std::string& key, std::vector<int> members, int position);
  ~nccl_communicator() override;
  nccl_communicator(const nccl_communicator&) = delete;
  nccl_communicator& operator=(const nccl_communicator&) = delete;

  int rank() const override { return position_; }
  int size() const override { return static_cast<int>(members_.size()); }
  ticket start(const collective& call) override;
  void wait(ticket t) override;
  void cancel() override;

  // for the watching thread
  /// What is wrong, or nothing: an error that NCCL reports, an operation that takes too long.
  std::string problem();
  /// The oldest operation that has not ended, if any.
  std::string doing();
  void abort();
  int device() const { return device_; }
  std::string me() const;

 private:
  struct operation {
    std::uint64_t number = 0;
    collective call;
    std::string where;
    process::clock::time_point begun;
    execution caller;
    queue_mark done;
    bool posted = true;  // letters are held back until they can go together
  };
  static std::string text(const operation& o);
  execution mine() const { return {queue_.get(), 1, nullptr}; }
  cudaStream_t stream() const { return static_cast<queue*>(queue_.get())->stream; }

  /// Calls NCCL under the lock, then waits until the communicator has taken the call.
  template <class Call>
  void launch(const char* what, Call call);
  /// The same for what all members of the group call: also waits until each of them has.
  template <class Call>
  void call(const char* what, Call call);
  void settle(const char* what);
  [[noreturn]] void broken(const char* what, ncclResult_t result);

  void run_now(const collective& c);
  void all_reduce(const collective& c);
  void reduce_scatter(const collective& c);
  void all_to_all(const collective& c);
  void add(const std::vector<const void*>& from, void* out, std::int64_t count, dtype type, bool maximum) const;
  void post_letters();

  nccl_run* run_;
  std::vector<int> members_;
  int position_, device_ = 0;
  queue_owner queue_;
  std::mutex use_;            // of the communicator
  ncclComm_t comm_ = nullptr;
  bool aborted_ = false;
  std::mutex list_mutex_;     // of the operations
  std::deque<operation> operations_;
  std::uint64_t next_ = 0, launches_ = 0;
  std::shared_ptr<launch_gate> gate_;
};

}  // namespace plait::inline v0_1::cuda
