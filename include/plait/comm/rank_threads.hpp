#pragma once
// Ranks as threads of one process: the embedded communicator. Reductions run in rank order, so results do not depend on timing;
// an exception on one rank releases the others and is rethrown; a checking mode compares calls before any data moves.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "plait/comm/rank_fabric.hpp"

namespace plait::inline v0_1 {

struct rank_options {
  bool check = true;  // compare op, type and count of every collective between ranks before moving data
};

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

/// One rank's end of a group. Models every communicator concept.
class rank_communicator final : public any_communicator {
 public:
  rank_communicator(std::shared_ptr<detail::rank_group> group, int rank) : group_(std::move(group)), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }
  ticket start(const collective& call) override {
    if (call.kind == collective_kind::send || call.kind == collective_kind::receive) {
      const bool sends = call.kind == collective_kind::send;
      letters_[next_letter_] = {group_->start_letter(sends ? rank_ : call.peer, sends ? call.peer : rank_, sends, call),
                                call.queue != nullptr ? *call.queue : execution{}};
      return {next_letter_++};
    }
    return {group_->post(rank_, next_++, call)};
  }
  /// Collectives of one group complete in the order in which they were started, so ranks may wait in any order of their own.
  void wait(ticket t) override {
    const auto letter = letters_.find(t.number);
    if (letter != letters_.end()) {
      const started_letter l = letter->second;
      letters_.erase(letter);
      group_->complete(*l.letter, l.exec);
      return;
    }
    while (completed_ < next_ && completed_ <= t.number && t.number < first_letter) group_->complete(rank_, completed_++);
  }
  void cancel() override { group_->cancel(); }
  ticket start_all_gather(const void* in, void* out, std::int64_t count, dtype type) {
    return start({collective_kind::all_gather, in, out, count, type});
  }
  ticket start_reduce_scatter(const void* in, void* out, std::int64_t count, dtype type) {
    return start({collective_kind::reduce_scatter, in, out, count, type});
  }
  ticket start_all_reduce(const void* in, void* out, std::int64_t count, dtype type, bool maximum) {
    return start({collective_kind::all_reduce, in, out, count, type, maximum});
  }
  ticket start_all_to_all(const void* in, void* out, std::int64_t count, dtype type) {
    return start({collective_kind::all_to_all, in, out, count, type});
  }
  ticket start_all_to_all_uneven(const void* in, void* out, const exchange_block* blocks, dtype type) {
    collective call{collective_kind::all_to_all, in, out, 0, type};
    call.blocks = blocks;
    return start(call);
  }
  ticket start_send(int peer, const void* in, std::int64_t count, dtype type) {
    return start({collective_kind::send, in, nullptr, count, type, false, peer});
  }
  ticket start_receive(int peer, void* out, std::int64_t count, dtype type) {
    return start({collective_kind::receive, nullptr, out, count, type, false, peer});
  }

 private:
  std::shared_ptr<detail::rank_group> group_;
  int rank_;
  std::uint64_t next_ = 0, completed_ = 0;
  static constexpr std::uint64_t first_letter = 1ull << 62;  // apart from collectives' numbers
  std::uint64_t next_letter_ = first_letter;
  struct started_letter {
    std::shared_ptr<detail::rank_group::letter> letter;
    execution exec;
  };
  std::map<std::uint64_t, started_letter> letters_;
};
static_assert(can_all_gather<rank_communicator> && can_reduce_scatter<rank_communicator> && can_all_reduce<rank_communicator> &&
              can_all_to_all<rank_communicator> && can_all_to_all_uneven<rank_communicator> && can_send_receive<rank_communicator>);

/// All ranks of one mesh, in this process.
class rank_world final : public rank_fabric {
 public:
  rank_world(const mesh_shape& mesh, const backend& ops, rank_options options = {}) : mesh_(mesh), ops_(&ops), options_(options) {}

  std::unique_ptr<communicator_source> open(int rank) override { return std::make_unique<rank_communicators>(*this, rank); }
  void leave(int rank) override {
    std::lock_guard lock(mutex_);
    departed_.insert(rank);
    for (auto& [key, g] : groups_) depart_from(*g, key.first, key.second, rank);
  }

 private:
  /// A rank's communicators, made as they are asked for.
  class rank_communicators final : public communicator_source {
   public:
    rank_communicators(rank_world& world, int rank) : world_(world), rank_(rank) {}
    any_communicator& group(std::uint32_t mask) override {
      std::unique_ptr<rank_communicator>& c = made_[mask];
      if (c == nullptr) {
        int position = 0;
        const int first = group_members(world_.mesh_, rank_, mask, position).front();
        c = std::make_unique<rank_communicator>(world_.group(mask, first), position);
      }
      return *c;
    }

   private:
    rank_world& world_;
    int rank_;
    std::map<std::uint32_t, std::unique_ptr<rank_communicator>> made_;
  };

  std::shared_ptr<detail::rank_group> group(std::uint32_t mask, int first_rank) {
    std::lock_guard lock(mutex_);
    std::shared_ptr<detail::rank_group>& g = groups_[{mask, first_rank}];
    if (g == nullptr) {
      g = std::make_shared<detail::rank_group>(mesh_.group_size(mask), *ops_, options_.check);
      if (failed_) g->fail();
      for (const int r : departed_) depart_from(*g, mask, first_rank, r);
    }
    return g;
  }
  void depart_from(detail::rank_group& g, std::uint32_t mask, int first_rank, int rank) const {
    int position = 0;
    if (group_members(mesh_, rank, mask, position).front() == first_rank) g.depart(position);
  }
  void stop(int, std::exception_ptr) override {
    std::lock_guard lock(mutex_);
    failed_ = true;
    for (auto& g : groups_) g.second->fail();
  }

  mesh_shape mesh_;
  const backend* ops_;
  rank_options options_;
  std::mutex mutex_;
  std::map<std::pair<std::uint32_t, int>, std::shared_ptr<detail::rank_group>> groups_;
  std::set<int> departed_;
  bool failed_ = false;
};

/// Runs body(context&) once per rank of `mesh`, each in a thread of its own (in this one if there is only one rank), and rethrows
/// the first exception of any rank after all have stopped.
template <class Body>
void run_ranks(const mesh_shape& mesh, const backend& ops, Body body, rank_options options = {}) {
  rank_world world(mesh, ops, options);
  run_ranks_over(world, mesh, ops, 0, mesh.ranks(), std::move(body));
}

/// The same over a mesh type whose sizes are all static.
template <class Mesh, class Body>
void run_ranks(const backend& ops, Body body, rank_options options = {}) {
  static_assert(shape_is_static<Mesh>, "plait: the mesh has axes whose size is known at run time only; pass a mesh_shape");
  run_ranks(shape_of<Mesh>(), ops, std::move(body), options);
}

}  // namespace plait::inline v0_1
