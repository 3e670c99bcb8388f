#if __has_include(<nccl.h>)
#include "plait/kernels/cuda/nccl_communicator.hpp"

#include <algorithm>
#include <cstring>

#include "plait/kernels/cuda_backend.hpp"

namespace plait::inline v0_1::cuda {
namespace {

constexpr std::size_t small_exchange = std::size_t{256} << 10;  // bytes of all ranks together: one gather, then everyone adds everything

ncclDataType_t nccl_type(dtype type) {
  switch (type) {
    case dtype::f32: return ncclFloat32;
    case dtype::f64: return ncclFloat64;
    case dtype::bf16: return ncclBfloat16;
    case dtype::i64: return ncclInt64;
    case dtype::i32: return ncclInt32;
    case dtype::u8: return ncclUint8;
  }
  return ncclUint8;
}

char* at(void* base, std::int64_t elements, dtype type) { return static_cast<char*>(base) + static_cast<std::size_t>(elements) * size_of(type); }
const char* at(const void* base, std::int64_t elements, dtype type) {
  return static_cast<const char*>(base) + static_cast<std::size_t>(elements) * size_of(type);
}

}  // namespace

// the run ----------------------------------------------------------------------------------------------------------------------

void nccl_run::add(nccl_communicator& c) {
  std::lock_guard lock(mutex_);
  communicators_.push_back(&c);
  if (!watcher_.joinable()) watcher_ = std::thread([this] { watch(); });
}

void nccl_run::remove(nccl_communicator& c) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !failing_ || aborted_; });
  std::erase(communicators_, &c);
}

void nccl_run::fail(const std::string& why) {
  {
    std::lock_guard lock(mutex_);
    if (failing_) return;
    failing_ = true;
    reason_ = why;
    if (communicators_.empty()) failed_ = aborted_ = true;
    changed_.notify_all();
  }
  failed_here(why);
}

void nccl_run::stop_watching() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  if (watcher_.joinable()) watcher_.join();
}

void nccl_run::watch() {
  std::unique_lock lock(mutex_);
  if (!communicators_.empty()) cudaSetDevice(communicators_.front()->device());
  while (!ending_ && !failing_) {
    changed_.wait_for(lock, std::chrono::milliseconds(50), [&] { return ending_ || failing_; });
    std::string problem;
    for (nccl_communicator* c : communicators_)
      if (problem.empty() && !failing_) problem = c->problem();
    if (problem.empty()) continue;
    lock.unlock();
    fail(problem);
    lock.lock();
  }
  if (!failing_ || aborted_) return;
  for (nccl_communicator* c : communicators_)
    if (const std::string what = c->doing(); !what.empty() && reason_.find(what) == std::string::npos) {
      reason_ += "; " + c->me() + " was in " + what;
      break;
    }
  failed_ = true;  // from here on threads that wait for their queues throw
  lock.unlock();
  abort_all();
}

void nccl_run::abort_all() {
  // All at once: one that is aborted alone may wait for its neighbours.
  std::vector<nccl_communicator*> all;
  {
    std::lock_guard lock(mutex_);
    all = communicators_;  // nobody leaves the list before aborted_ is set
  }
  std::vector<std::thread> threads;
  std::atomic<std::size_t> ended{0};
  for (nccl_communicator* c : all)
    threads.emplace_back([c, &ended] {
      c->abort();
      ++ended;
    });
  const process::time_limit limit(5);
  while (ended < threads.size() && !limit.passed()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  if (ended < threads.size() && options_.last_resort != nullptr) options_.last_resort((reason() + "; NCCL does not let itself be aborted").c_str());
  for (std::thread& t : threads) t.join();
  std::lock_guard lock(mutex_);
  aborted_ = true;
  changed_.notify_all();
}

// a communicator ---------------------------------------------------------------------------------------------------------------

nccl_communicator::nccl_communicator(nccl_run& run, const std::string& key, std::vector<int> members, int position)
    : run_(&run), members_(std::move(members)), position_(position), queue_(cuda_backend()) {
  check(cudaGetDevice(&device_), "finding the GPU");
  ncclUniqueId id{};
  if (position == 0) {
    if (const ncclResult_t got = nccl().GetUniqueId(&id); got != ncclSuccess) broken("making a communicator's name", got);
    run.set(key, std::string(id.internal, sizeof id.internal));
  } else {
    const std::string text = run.get(key);
    std::memcpy(id.internal, text.data(), std::min(text.size(), sizeof id.internal));
  }
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const ncclResult_t begun = nccl().CommInitRankConfig(&comm_, size(), id, position, &config);
  if (begun != ncclSuccess && begun != ncclInProgress) broken("setting up a communicator", begun);
  gate_ = run.gate(key, size());
  run.add(*this);
  try {
    settle("setting up a communicator");
  } catch (...) {
    run_->remove(*this);
    if (comm_ != nullptr) nccl().CommAbort(comm_);
    throw;
  }
}

nccl_communicator::~nccl_communicator() {
  run_->remove(*this);
  if (comm_ == nullptr) return;
  cudaStreamSynchronize(stream());
  nccl().CommFinalize(comm_);
  ncclResult_t state = ncclInProgress;
  const process::time_limit limit(10);
  while (nccl().CommGetAsyncError(comm_, &state) == ncclSuccess && state == ncclInProgress && !limit.passed())
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  // Between threads the last of these calls frees what all members had. One call at a time, whatever the group: two threads that free two
  // groups at once break the heap inside the driver's cuMemUnmap (NCCL 2.28.9, driver 580, four GPUs: in four of ten runs).
  static std::mutex freeing;
  const std::lock_guard lock(freeing);
  if (state == ncclSuccess) nccl().CommDestroy(comm_);
  else nccl().CommAbort(comm_);
}

std::string nccl_communicator::text(const operation& o) {
  const collective& c = o.call;
  return (c.blocks != nullptr ? "uneven " : "") + std::string(name_of(c.kind)) + " of " + std::to_string(c.count) + " " + name_of(c.type) +
         (c.maximum ? " (maximum)" : "") + " at '" + o.where + "'";
}

void nccl_communicator::broken(const char* what, ncclResult_t result) {
  std::string why = std::string("NCCL: ") + what + ": " + nccl().GetErrorString(result);
  if (const char* detail = nccl().GetLastError(comm_); detail != nullptr && *detail != '\0') why += std::string(" (") + detail + ")";
  for (char& c : why)
    if (c == '\n') c = ' ';
  throw std::runtime_error(why);
}

void nccl_communicator::settle(const char* what) {
  const process::time_limit limit(run_->options().limit);
  const auto begun = process::clock::now();
  while (true) {
    run_->check();
    ncclResult_t state = ncclSuccess;
    {
      std::lock_guard lock(use_);
      if (!aborted_ && nccl().CommGetAsyncError(comm_, &state) != ncclSuccess) state = ncclInternalError;
    }
    if (state == ncclSuccess) return;
    if (state != ncclInProgress) broken(what, state);
    if (limit.passed())
      throw std::runtime_error("NCCL: " + std::string(what) + " took longer than " + process::seconds_text(limit.seconds()) +
                               ", which is what --deadline allows; the other ranks of the group may not have come");
    // Most calls are taken within tens of microseconds, less than the shortest sleep; setting up takes long.
    if (process::clock::now() - begun < std::chrono::milliseconds(2)) std::this_thread::yield();
    else std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

template <class Call>
void nccl_communicator::launch(const char* what, Call call) {
  ncclResult_t result = ncclSuccess;
  {
    std::lock_guard lock(use_);
    if (!aborted_) result = call();
  }
  if (result != ncclSuccess && result != ncclInProgress) broken(what, result);
  settle(what);
}

template <class Call>
void nccl_communicator::call(const char* what, Call call) {
  launch(what, call);
  if (gate_ != nullptr) gate_->pass(launches_++, [this] { run_->check(); });
}

ticket nccl_communicator::start(const collective& c) {
  run_->check();
  operation o;
  o.number = next_++;
  o.call = c;
  o.where = c.where;
  o.begun = process::clock::now();
  o.caller = c.queue != nullptr ? *c.queue : mine();
  queue_of(o.caller).watched_by = run_;
  queue_mark(cuda_backend(), o.caller).wait(mine());
  const bool letter = c.kind == collective_kind::send || c.kind == collective_kind::receive;
  o.posted = !letter;
  if (!letter) post_letters();
  operation* kept = nullptr;
  {
    std::lock_guard lock(list_mutex_);
    while (!operations_.empty() && operations_.front().posted && has_reached(operations_.front().done.get())) operations_.pop_front();
    operations_.push_back(std::move(o));
    kept = &operations_.back();
  }
  if (letter) return {kept->number};
  run_now(c);
  queue_mark done(cuda_backend(), mine());
  std::lock_guard lock(list_mutex_);
  kept->done = std::move(done);
  return {kept->number};
}

void nccl_communicator::wait(ticket t) {
  run_->check();
  for (operation& o : operations_) {  // only this thread changes the list
    if (o.number != t.number) continue;
    if (!o.posted) post_letters();
    o.done.wait(o.caller);
    return;
  }
}

void nccl_communicator::cancel() {
  // The buffers' memory goes back to the arena, not to CUDA, and the run ends: what still moves in it does no harm.
}

std::string nccl_communicator::doing() {
  std::lock_guard lock(list_mutex_);
  for (const operation& o : operations_)
    if (!has_reached(o.done.get())) return text(o);
  return "";
}

std::string nccl_communicator::me() const { return "rank " + std::to_string(members_[static_cast<std::size_t>(position_)]); }

std::string nccl_communicator::problem() {
  {
    std::lock_guard lock(list_mutex_);
    for (const operation& o : operations_) {
      if (!o.posted || has_reached(o.done.get())) continue;
      if (std::chrono::duration<double>(process::clock::now() - o.begun).count() > run_->options().limit)
        return me() + " has waited " + process::seconds_text(run_->options().limit) + " in " + text(o) + "; --deadline allows no more";
      break;
    }
  }
  if (!use_.try_lock()) return "";
  ncclResult_t state = ncclSuccess;
  if (comm_ != nullptr && !aborted_) nccl().CommGetAsyncError(comm_, &state);
  use_.unlock();
  if (state == ncclSuccess || state == ncclInProgress) return "";
  const std::string what = doing();
  return me() + ": NCCL reports: " + nccl().GetErrorString(state) + (what.empty() ? "" : ", in " + what);
}

void nccl_communicator::abort() {
  std::lock_guard lock(use_);
  aborted_ = true;
  cudaSetDevice(device_);  // of this thread, which is another one than the rank's
  if (comm_ != nullptr) nccl().CommAbort(comm_);
  comm_ = nullptr;
}

void nccl_communicator::run_now(const collective& c) {
  const std::size_t bytes = static_cast<std::size_t>(c.count) * size_of(c.type);
  switch (c.kind) {
    case collective_kind::all_gather:
      if (bytes > 0) call("all_gather", [&] { return nccl().AllGather(c.in, c.out, bytes, ncclUint8, comm_, stream()); });
      break;
    case collective_kind::reduce_scatter: reduce_scatter(c); break;
    case collective_kind::all_reduce: all_reduce(c); break;
    case collective_kind::all_to_all: all_to_all(c); break;
    default: break;
  }
}

void nccl_communicator::add(const std::vector<const void*>& from, void* out, std::int64_t count, dtype type, bool maximum) const {
  view v;
  v.data = out;
  v.type = type;
  v.rank = 1;
  v.extent[0] = count;
  if (count > 0) cuda_backend().reduce(mine(), from.data(), static_cast<int>(from.size()), v, maximum);
}

/// Everyone sends block m to member m and adds what it gets, in rank order.
void nccl_communicator::reduce_scatter(const collective& c) {
  if (c.count == 0) return;
  if (run_->options().sums == nccl_sums::library) {
    call("reduce_scatter", [&] { return nccl().ReduceScatter(c.in, c.out, static_cast<std::size_t>(c.count), nccl_type(c.type), ncclSum, comm_, stream()); });
    return;
  }
  const std::size_t block = static_cast<std::size_t>(c.count) * size_of(c.type);
  const scratch others(*static_cast<queue*>(queue_.get()), block * members_.size());
  char* const got = others.as<char>();
  call("reduce_scatter", [&] {
    nccl().GroupStart();
    for (int m = 0; m < size(); ++m) {
      if (m == position_) continue;
      nccl().Send(at(c.in, m * c.count, c.type), block, ncclUint8, m, comm_, stream());
      nccl().Recv(got + static_cast<std::size_t>(m) * block, block, ncclUint8, m, comm_, stream());
    }
    return nccl().GroupEnd();
  });
  std::vector<const void*> from;
  for (int m = 0; m < size(); ++m) from.push_back(m == position_ ? at(c.in, m * c.count, c.type) : got + static_cast<std::size_t>(m) * block);
  add(from, c.out, c.count, c.type, false);
}

/// As reduce_scatter over shares of the elements, then the shares' sums go to everyone.
void nccl_communicator::all_reduce(const collective& c) {
  if (c.count == 0) return;
  queue& q = *static_cast<queue*>(queue_.get());
  const std::size_t element = size_of(c.type), bytes = static_cast<std::size_t>(c.count) * element;
  if (run_->options().sums == nccl_sums::library) {
    call("all_reduce", [&] {
      return nccl().AllReduce(c.in, c.out, static_cast<std::size_t>(c.count), nccl_type(c.type), c.maximum ? ncclMax : ncclSum, comm_, stream());
    });
    return;
  }
  std::vector<const void*> from;
  if (bytes * members_.size() <= small_exchange) {
    const scratch all(q, bytes * members_.size());
    call("all_reduce", [&] { return nccl().AllGather(c.in, all.as<void>(), bytes, ncclUint8, comm_, stream()); });
    for (std::size_t m = 0; m < members_.size(); ++m) from.push_back(all.as<char>() + m * bytes);
    add(from, c.out, c.count, c.type, c.maximum);
    return;
  }
  const std::int64_t n = size(), each = (c.count + n - 1) / n;
  const auto begin = [&](std::int64_t m) { return std::min(each * m, c.count); };
  const auto share = [&](std::int64_t m) { return static_cast<std::size_t>(begin(m + 1) - begin(m)) * element; };
  const std::size_t mine_bytes = share(position_);
  const scratch others(q, mine_bytes * members_.size()), sum(q, mine_bytes);
  char* const got = others.as<char>();
  call("all_reduce", [&] {
    nccl().GroupStart();
    for (int m = 0; m < size(); ++m) {
      if (m == position_) continue;
      if (share(m) > 0) nccl().Send(at(c.in, begin(m), c.type), share(m), ncclUint8, m, comm_, stream());
      if (mine_bytes > 0) nccl().Recv(got + static_cast<std::size_t>(m) * mine_bytes, mine_bytes, ncclUint8, m, comm_, stream());
    }
    return nccl().GroupEnd();
  });
  for (int m = 0; m < size(); ++m) from.push_back(m == position_ ? at(c.in, begin(m), c.type) : got + static_cast<std::size_t>(m) * mine_bytes);
  add(from, sum.as<void>(), begin(position_ + 1) - begin(position_), c.type, c.maximum);
  if (c.count % n == 0) {
    call("all_reduce", [&] { return nccl().AllGather(sum.as<void>(), c.out, mine_bytes, ncclUint8, comm_, stream()); });
    return;
  }
  call("all_reduce", [&] {
    nccl().GroupStart();
    for (int m = 0; m < size(); ++m) {
      if (m == position_) continue;
      if (mine_bytes > 0) nccl().Send(sum.as<void>(), mine_bytes, ncclUint8, m, comm_, stream());
      if (share(m) > 0) nccl().Recv(at(c.out, begin(m), c.type), share(m), ncclUint8, m, comm_, stream());
    }
    return nccl().GroupEnd();
  });
  cuda_backend().copy(mine(), at(c.out, begin(position_), c.type), sum.as<void>(), mine_bytes);
}

void nccl_communicator::all_to_all(const collective& c) {
  const auto block = [&](int m) { return c.blocks != nullptr ? c.blocks[m] : exchange_block{c.count, m * c.count, c.count, m * c.count}; };
  const auto bytes = [&](std::int64_t count) { return static_cast<std::size_t>(count) * size_of(c.type); };
  const exchange_block own = block(position_);
  if (own.send != own.receive)
    throw std::logic_error("plait: an uneven all_to_all sends " + std::to_string(own.send) + " elements to its own rank, which wants " + std::to_string(own.receive));
  cuda_backend().copy(mine(), at(c.out, own.receive_at, c.type), at(c.in, own.send_at, c.type), bytes(own.send));
  call("all_to_all", [&] {
    nccl().GroupStart();
    for (int m = 0; m < size(); ++m) {
      const exchange_block b = block(m);
      if (m == position_) continue;
      if (b.send > 0) nccl().Send(at(c.in, b.send_at, c.type), bytes(b.send), ncclUint8, m, comm_, stream());
      if (b.receive > 0) nccl().Recv(at(c.out, b.receive_at, c.type), bytes(b.receive), ncclUint8, m, comm_, stream());
    }
    return nccl().GroupEnd();
  });
}

/// Sends and receives that were started since the last collective go as one group, so that two ranks that both send first do not block.
void nccl_communicator::post_letters() {
  std::vector<operation*> waiting;
  for (operation& o : operations_)
    if (!o.posted) waiting.push_back(&o);
  if (waiting.empty()) return;
  launch("send and receive", [&] {
    nccl().GroupStart();
    for (const operation* o : waiting) {
      const collective& c = o->call;
      const std::size_t bytes = static_cast<std::size_t>(c.count) * size_of(c.type);
      if (c.kind == collective_kind::send) nccl().Send(c.in, bytes, ncclUint8, c.peer, comm_, stream());
      else nccl().Recv(c.out, bytes, ncclUint8, c.peer, comm_, stream());
    }
    return nccl().GroupEnd();
  });
  for (operation* o : waiting) {
    queue_mark done(cuda_backend(), mine());
    std::lock_guard lock(list_mutex_);
    o->done = std::move(done);
    o->posted = true;
  }
}

}  // namespace plait::inline v0_1::cuda
#endif
