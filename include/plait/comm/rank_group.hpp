#pragma once
// What the members of one group of rank threads share. Reductions run in rank order, so results do not depend on timing; a member that
// fails releases the others; a checking mode compares calls before any data moves.
#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "plait/comm/rank_fabric.hpp"
#include "plait/runtime/buffer.hpp"
#include "plait/runtime/queue.hpp"

namespace plait::inline v0_1 {
namespace detail {

/// State shared by the members of one group.
class rank_group {
 public:
  rank_group(int size, const backend& ops, bool check)
      : size_(size), ops_(&ops), check_(check), departed_(static_cast<std::size_t>(size), false) {}

  std::uint64_t post(int rank, std::uint64_t number, const collective& call) {
    queue_mark ready(*ops_, queue_of(call));
    std::unique_lock lock(mutex_);
    if (failed_) throw rank_released();
    slot& s = at(number);
    s.call[static_cast<std::size_t>(rank)] = call;
    s.mark(stage::posted, rank) = std::move(ready);
    s.has[static_cast<std::size_t>(rank)] = progress::posted;
    if (++s.posted == size_) {
      if (check_) verify(s, number);
      wake_.notify_all();
    }
    return number;
  }

  void complete(int rank, std::uint64_t number) {
    slot* s = nullptr;
    {
      std::unique_lock lock(mutex_);
      s = &at(number);
      await(lock, [&] { return s->posted == size_; }, [&] { return absent(*s); }, true);
      if (!s->error.empty()) throw std::logic_error(s->error);
      ++reading_;
    }
    const collective& mine = s->call[static_cast<std::size_t>(rank)];
    const execution exec = queue_of(mine);
    const auto copy = [&](void* to, const void* from, std::size_t bytes) { ops_->copy(exec, to, from, bytes); };
    s->wait_for_others(stage::posted, rank, exec);
    const std::size_t element = size_of(mine.type);
    const std::size_t block = static_cast<std::size_t>(mine.count) * element;
    const std::size_t n = static_cast<std::size_t>(size_);
    switch (mine.kind) {
      case collective_kind::all_gather:
        for (std::size_t m = 0; m < n; ++m) copy(static_cast<char*>(mine.out) + m * block, s->call[m].in, block);
        break;
      case collective_kind::all_to_all:
        for (std::size_t m = 0; m < n; ++m) {
          const collective& theirs = s->call[m];
          if (mine.blocks == nullptr) {
            copy(static_cast<char*>(mine.out) + m * block, static_cast<const char*>(theirs.in) + static_cast<std::size_t>(rank) * block, block);
          } else if (const exchange_block& b = mine.blocks[m]; b.receive > 0) {
            copy(static_cast<char*>(mine.out) + static_cast<std::size_t>(b.receive_at) * element,
                 static_cast<const char*>(theirs.in) + static_cast<std::size_t>(theirs.blocks[rank].send_at) * element,
                 static_cast<std::size_t>(b.receive) * element);
          }
        }
        break;
      case collective_kind::reduce_scatter:
        reduce(exec, *s, static_cast<std::size_t>(rank) * block, mine.out, mine.count, mine.type, false);
        break;
      case collective_kind::all_reduce: {
        // Each rank reduces its share of the elements, then takes the others' shares: n times less work than everyone summing all.
        const std::int64_t share = (mine.count + size_ - 1) / size_;
        const std::int64_t begin = std::min<std::int64_t>(share * rank, mine.count);
        const std::int64_t end = std::min<std::int64_t>(begin + share, mine.count);
        const buffer scratch(*ops_, exec.queue, static_cast<std::size_t>(end - begin) * element);
        reduce(exec, *s, static_cast<std::size_t>(begin) * element, scratch.data(), end - begin, mine.type, mine.maximum);
        arrive(*s, stage::reduced, rank, exec);  // nobody reads an input any more: outputs may be written, also in place
        copy(static_cast<char*>(mine.out) + static_cast<std::size_t>(begin) * element, scratch.data(), scratch.bytes());
        arrive(*s, stage::shared, rank, exec);
        for (int m = 0; m < size_; ++m) {
          if (m == rank) continue;
          const std::int64_t low = std::min<std::int64_t>(share * m, mine.count);
          const std::int64_t high = std::min<std::int64_t>(low + share, mine.count);
          const std::size_t offset = static_cast<std::size_t>(low) * element;
          copy(static_cast<char*>(mine.out) + offset, static_cast<const char*>(s->call[static_cast<std::size_t>(m)].out) + offset,
               static_cast<std::size_t>(high - low) * element);
        }
        break;
      }
      case collective_kind::send:
      case collective_kind::receive: break;
    }
    queue_mark done(*ops_, exec);
    std::unique_lock lock(mutex_);
    --reading_;
    ++s->finished;
    s->mark(stage::finished, rank) = std::move(done);
    s->has[static_cast<std::size_t>(rank)] = progress::finished;
    if (s->finished == size_ || reading_ == 0) wake_.notify_all();
    await(lock, [&] { return s->finished == size_; }, [&] { return absent(*s); });  // my input may still be read until here
    s->wait_for_others(stage::finished, rank, exec);
    if (++s->left == size_) retire();
  }

  /// One point-to-point transfer. The sends and the receives of a pair of ranks meet in the order in which they were started;
  /// whichever comes second copies.
  struct letter {
    const void* data = nullptr;
    void* target = nullptr;
    std::int64_t sent = -1, wanted = -1;  // bytes; -1: that side has not started
    int from = 0, to = 0;
    bool done = false;
    queue_mark started, copied;  // of the side that came first; of the copy
  };
  std::shared_ptr<letter> start_letter(int from, int to, bool sends, const collective& call) {
    const std::int64_t bytes = call.count * static_cast<std::int64_t>(size_of(call.type));
    const execution exec = queue_of(call);
    std::unique_lock lock(mutex_);
    if (failed_) throw rank_released();
    std::deque<std::shared_ptr<letter>>& box = mail_[{from, to}];
    std::shared_ptr<letter> l;
    for (const auto& other : box)
      if (l == nullptr && (sends ? other->sent : other->wanted) < 0) l = other;
    if (l == nullptr) {
      box.push_back(l = std::make_shared<letter>());
      l->from = from, l->to = to;
    }
    if (sends) l->data = call.in, l->sent = bytes;
    else l->target = call.out, l->wanted = bytes;
    if (l->sent >= 0 && l->wanted >= 0) {
      l->started.wait(exec);
      if (l->sent == l->wanted) ops_->copy(exec, l->target, l->data, static_cast<std::size_t>(bytes));
      l->copied = queue_mark(*ops_, exec);
      l->done = true;
      box.erase(std::find(box.begin(), box.end(), l));
      wake_.notify_all();
    } else {
      l->started = queue_mark(*ops_, exec);
    }
    return l;
  }
  void complete(const letter& l, const execution& exec) {
    std::unique_lock lock(mutex_);
    await(lock, [&] { return l.done; }, [&] {
      const int peer = l.sent < 0 ? l.from : l.to;
      return departed_[static_cast<std::size_t>(peer)] ? peer : -1;
    });
    if (l.sent != l.wanted)
      throw std::logic_error("plait: a receive of " + std::to_string(l.wanted) + " bytes meets a send of " + std::to_string(l.sent));
    l.copied.wait(exec);
  }

  /// The member has returned from its body: whoever waits for it now waits for nothing.
  void depart(int rank) {
    std::lock_guard lock(mutex_);
    departed_[static_cast<std::size_t>(rank)] = true;
    wake_.notify_all();
  }
  /// Gives up a started call whose buffers are about to go: fails the group and waits until nobody reads them.
  void cancel() {
    std::unique_lock lock(mutex_);
    failed_ = true;
    wake_.notify_all();
    wake_.wait(lock, [&] { return reading_ == 0; });
  }
  void fail() {
    std::lock_guard lock(mutex_);
    failed_ = true;
    wake_.notify_all();
  }
  int size() const { return size_; }

 private:
  enum class progress : unsigned char { none, posted, finished };
  /// What members wait for each other at: threads by the counters, their queues by marks.
  enum class stage : unsigned char { posted, reduced, shared, finished, count };
  struct slot {
    explicit slot(int n)
        : call(static_cast<std::size_t>(n)),
          has(static_cast<std::size_t>(n), progress::none),
          marks(static_cast<std::size_t>(n) * static_cast<std::size_t>(stage::count)) {}
    std::vector<collective> call;
    std::vector<progress> has;
    std::vector<queue_mark> marks;
    int posted = 0, finished = 0, left = 0;
    int arrived[static_cast<std::size_t>(stage::count)] = {};  // of reduced and shared
    std::string error;

    queue_mark& mark(stage at, int rank) { return marks[static_cast<std::size_t>(at) * call.size() + static_cast<std::size_t>(rank)]; }
    void wait_for_others(stage at, int rank, const execution& exec) {
      for (int r = 0; r < static_cast<int>(call.size()); ++r)
        if (r != rank) mark(at, r).wait(exec);
    }
  };
  static execution queue_of(const collective& call) { return call.queue != nullptr ? *call.queue : execution{}; }
  slot& at(std::uint64_t number) {
    while (first_ + slots_.size() <= number) slots_.emplace_back(std::make_unique<slot>(size_));
    return *slots_[static_cast<std::size_t>(number - first_)];
  }
  void retire() {
    while (!slots_.empty() && slots_.front()->left == size_) {
      slots_.pop_front();
      ++first_;
    }
  }
  /// A member that departed without its part in `s`, or -1.
  int absent(const slot& s) const {
    for (std::size_t r = 0; r < departed_.size(); ++r)
      if (departed_[r] && s.has[r] != progress::finished) return static_cast<int>(r);
    return -1;
  }
  /// Throws when another rank has failed or departed, but only once nobody reads this rank's buffers, which unwinding frees.
  template <class Ready, class Missing>
  void await(std::unique_lock<std::mutex>& lock, Ready ready, Missing missing, bool then_reads = false) {
    wake_.wait(lock, [&] { return failed_ || ready() || missing() >= 0; });
    if (ready() && !(then_reads && failed_)) return;  // once a rank has failed nobody starts to read: its buffers may be gone
    const bool released = failed_;
    failed_ = true;
    wake_.notify_all();
    wake_.wait(lock, [&] { return reading_ == 0; });
    if (released) throw rank_released();
    throw std::logic_error("plait: rank " + std::to_string(missing()) + " of a group returned while others of the group wait for it; every "
                           "rank must take part in every collective");
  }
  void arrive(slot& s, stage at, int rank, const execution& exec) {
    queue_mark here(*ops_, exec);
    std::unique_lock lock(mutex_);
    int& counter = s.arrived[static_cast<std::size_t>(at)];
    s.mark(at, rank) = std::move(here);
    if (--reading_ == 0) wake_.notify_all();
    if (++counter == size_) wake_.notify_all();
    await(lock, [&] { return counter == size_; }, [&] { return absent(s); }, true);
    ++reading_;
    s.wait_for_others(at, rank, exec);
  }
  void reduce(const execution& exec, const slot& s, std::size_t offset, void* out, std::int64_t count, dtype type, bool maximum) const {
    std::vector<const void*> from;
    for (const collective& c : s.call) from.push_back(static_cast<const char*>(c.in) + offset);
    view v;
    v.data = out;
    v.type = type;
    v.rank = 1;
    v.extent[0] = count;
    ops_->reduce(exec, from.data(), static_cast<int>(from.size()), v, maximum);
  }
  void verify(slot& s, std::uint64_t number) const {
    const collective& a = s.call[0];
    const auto differs = [&] { return "plait: collective " + std::to_string(number) + " of a group differs between its ranks: rank "; };
    for (std::size_t r = 1; r < s.call.size(); ++r) {
      const collective& b = s.call[r];
      if (a.kind == b.kind && a.type == b.type && a.count == b.count && a.maximum == b.maximum && (a.blocks == nullptr) == (b.blocks == nullptr))
        continue;
      s.error = differs() + "0 called " + text(a) + ", rank " + std::to_string(r) + " called " + text(b);
      return;
    }
    for (std::size_t r = 0; r < s.call.size() && a.blocks != nullptr; ++r)
      for (std::size_t m = 0; m < s.call.size(); ++m) {
        const std::int64_t sent = s.call[r].blocks[m].send, wanted = s.call[m].blocks[r].receive;
        if (sent == wanted && sent >= 0) continue;
        s.error = differs() + std::to_string(r) + " sends " + std::to_string(sent) + " elements to rank " + std::to_string(m) +
                  ", which wants " + std::to_string(wanted) + ", in " + text(a);
        return;
      }
  }
  static std::string text(const collective& c) {
    return (c.blocks != nullptr ? "uneven " : "") + std::string(name_of(c.kind)) + " of " + std::to_string(c.count) + " " + name_of(c.type) + (c.maximum ? " (maximum)" : "") +
           " at '" + c.where + "'";
  }

  const int size_;
  const backend* ops_;
  const bool check_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<slot>> slots_;
  std::uint64_t first_ = 0;
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<letter>>> mail_;
  std::vector<bool> departed_;
  int reading_ = 0;  // members that are copying out of others' buffers just now
  bool failed_ = false;
};

}  // namespace detail
}  // namespace plait::inline v0_1
