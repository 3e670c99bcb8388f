#pragma once
// Collectives between processes through host memory: blocks are exchanged over sockets, then reduced in rank order by the backend's own
// function, so results equal those of ranks as threads bit for bit. What travels carries what its sender called, and is compared.
#include <memory>

#include "plait/comm/communicator.hpp"
#include "plait/process/links.hpp"

namespace plait::inline v0_1 {

/// One process's end of a group of `members` (ranks of the run); `me` is its place among them, `channel` the group's number.
class socket_communicator final : public any_communicator {
 public:
  socket_communicator(process::links& wires, const backend& ops, std::uint32_t channel, std::vector<int> members, int me)
      : wires_(&wires), ops_(&ops), channel_(channel), members_(std::move(members)), me_(me), sent_(members_.size()), received_(members_.size()) {}
  ~socket_communicator() override { cancel(); }
  socket_communicator(const socket_communicator&) = delete;
  socket_communicator& operator=(const socket_communicator&) = delete;

  int rank() const override { return me_; }
  int size() const override { return static_cast<int>(members_.size()); }

  ticket start(const collective& call) override {
    const std::uint64_t number = next_++;
    operation& o = operations_[number];
    o.call = call;
    o.number = number;
    const std::size_t element = size_of(call.type);
    const auto in = [&](std::int64_t at) { return static_cast<const char*>(call.in) + static_cast<std::size_t>(at) * element; };
    if (call.kind == collective_kind::send || call.kind == collective_kind::receive) {
      const bool sends = call.kind == collective_kind::send;
      o.letter = (sends ? sent_ : received_)[static_cast<std::size_t>(call.peer)]++;
      if (sends) post(o, call.peer, in(0), call.count, 0);
      return {number};
    }
    o.letter = collectives_++;
    order_.push_back(number);
    for (int m = 0; m < size(); ++m) {
      if (m == me_) continue;
      switch (call.kind) {
        case collective_kind::all_gather: post(o, m, in(0), call.count, 0); break;
        case collective_kind::all_reduce: post(o, m, in(share(call, m).begin), share(call, m).count, 0); break;
        case collective_kind::all_to_all:
          if (call.blocks != nullptr) {
            post(o, m, in(call.blocks[m].send_at), call.blocks[m].send, 0);
            break;
          }
          [[fallthrough]];
        default: post(o, m, in(m * call.count), call.count, 0);
      }
    }
    return {number};
  }

  /// Collectives complete in the order in which they were started, so ranks may wait in any order of their own.
  void wait(ticket t) override try {
    const auto found = operations_.find(t.number);
    if (found == operations_.end()) return;
    const collective_kind kind = found->second.call.kind;
    if (kind == collective_kind::send || kind == collective_kind::receive) {
      complete_letter(found->second);
      operations_.erase(found);
      return;
    }
    while (!order_.empty() && order_.front() <= t.number) {
      const auto next = operations_.find(order_.front());
      complete(next->second);
      order_.pop_front();
      operations_.erase(next);
    }
  } catch (const std::exception& e) {
    wires_->fail("rank " + std::to_string(members_[static_cast<std::size_t>(me_)]) + ": " + e.what());  // lets go of all buffers
    throw;
  }

  void cancel() override {
    if (operations_.empty()) return;
    wires_->cancel();
    operations_.clear();
    order_.clear();
  }

 private:
  struct operation {
    collective call;
    std::uint64_t number = 0, letter = 0;  // number: of start; letter: among collectives, or among letters of a pair
    process::flight out;
  };
  struct part {
    std::int64_t begin = 0, count = 0;
  };
  /// Which elements of an all-reduce a member sums.
  part share(const collective& c, int member) const {
    const std::int64_t n = size(), each = (c.count + n - 1) / n, begin = std::min(each * member, c.count);
    return {begin, std::min(begin + each, c.count) - begin};
  }
  std::uint32_t channel_of(const collective& c) const {
    return c.kind == collective_kind::send || c.kind == collective_kind::receive ? channel_ | 1u << 31 : channel_;
  }

  void post(operation& o, int to, const void* data, std::int64_t count, std::uint32_t which) {
    process::frame f;
    f.channel = channel_of(o.call);
    f.part = which;
    f.number = o.letter;
    f.bytes = static_cast<std::uint64_t>(count) * size_of(o.call.type);
    f.count = o.call.count;
    f.call = static_cast<std::uint8_t>(o.call.kind);
    f.type = static_cast<std::uint8_t>(o.call.type);
    f.maximum = o.call.maximum;
    f.uneven = o.call.blocks != nullptr;
    std::strncpy(f.where, o.call.where, sizeof f.where - 1);
    wires_->post(members_[static_cast<std::size_t>(to)], f, data, o.out);
  }
  static std::string text(collective_kind kind, std::int64_t count, dtype type, bool maximum, bool uneven, const char* where) {
    return (uneven ? "uneven " : "") + std::string(name_of(kind)) + " of " + std::to_string(count) + " " + name_of(type) + (maximum ? " (maximum)" : "") +
           " at '" + where + "'";
  }
  static std::string text(const collective& c) { return text(c.kind, c.count, c.type, c.maximum, c.blocks != nullptr, c.where); }

  /// The block that member `m` sent for this operation: `count` elements, or the call differs.
  process::message take(const operation& o, int m, std::int64_t count, std::uint32_t which) {
    const collective& c = o.call;
    const auto what = [&] { return text(c) + " (number " + std::to_string(o.letter) + " of its group)"; };
    process::message got = wires_->take(members_[static_cast<std::size_t>(m)], process::frame_kind::data, channel_of(c), o.letter, which, what);
    const process::frame& h = got.head;
    const auto named = [&](int member) { return "rank " + std::to_string(members_[static_cast<std::size_t>(member)]); };
    const bool letter = c.kind == collective_kind::receive;
    if (!letter && (h.call != static_cast<std::uint8_t>(c.kind) || h.type != static_cast<std::uint8_t>(c.type) || h.count != c.count ||
                    h.maximum != static_cast<std::uint8_t>(c.maximum) || h.uneven != static_cast<std::uint8_t>(c.blocks != nullptr)))
      throw std::logic_error("plait: collective " + std::to_string(o.letter) + " of a group differs between its ranks: " + named(me_) + " called " + text(c) + ", " +
                             named(m) + " called " +
                             text(static_cast<collective_kind>(h.call), h.count, static_cast<dtype>(h.type), h.maximum != 0, h.uneven != 0, h.where));
    const std::uint64_t wanted = static_cast<std::uint64_t>(count) * size_of(c.type);
    if (letter && h.bytes != wanted)
      throw std::logic_error("plait: a receive of " + std::to_string(wanted) + " bytes meets a send of " + std::to_string(h.bytes));
    if (h.bytes != wanted)
      throw std::logic_error("plait: collective " + std::to_string(o.letter) + " of a group differs between its ranks: " + named(m) + " sends " +
                             std::to_string(h.bytes / size_of(c.type)) + " elements to " + named(me_) + ", which wants " + std::to_string(count) + ", in " + text(c));
    return got;
  }
  void flush(const operation& o) {
    wires_->flush(o.out, [&] { return text(o.call); });
  }
  static void copy(void* to, const void* from, std::size_t bytes) {
    if (bytes > 0 && to != from) std::memcpy(to, from, bytes);
  }

  void complete_letter(operation& o) {
    if (o.call.kind == collective_kind::receive) {
      const process::message m = take(o, o.call.peer, o.call.count, 0);
      copy(o.call.out, m.payload.data(), m.payload.size());
    }
    flush(o);
  }

  /// Sums member by member in rank order; mine is `own`.
  void reduce(const operation& o, const std::vector<process::message>& theirs, const void* own, void* out, std::int64_t count) const {
    std::vector<const void*> from;
    for (std::size_t m = 0; m < theirs.size(); ++m) from.push_back(static_cast<int>(m) == me_ ? own : theirs[m].payload.data());
    view v;
    v.data = out;
    v.type = o.call.type;
    v.rank = 1;
    v.extent[0] = count;
    ops_->reduce(o.call.queue != nullptr ? *o.call.queue : execution{}, from.data(), static_cast<int>(from.size()), v, o.call.maximum);
  }

  void complete(operation& o) {
    const collective& c = o.call;
    const std::size_t element = size_of(c.type), block = static_cast<std::size_t>(c.count) * element, me = static_cast<std::size_t>(me_);
    const char* const in = static_cast<const char*>(c.in);
    char* const out = static_cast<char*>(c.out);
    std::vector<process::message> theirs(members_.size());
    const auto receive = [&](auto count_of, std::uint32_t which) {
      for (int m = 0; m < size(); ++m)
        if (m != me_) theirs[static_cast<std::size_t>(m)] = take(o, m, count_of(m), which);
    };
    switch (c.kind) {
      case collective_kind::all_gather:
      case collective_kind::all_to_all:
        if (c.blocks != nullptr) {
          receive([&](int m) { return c.blocks[m].receive; }, 0);
          const exchange_block& mine = c.blocks[me];
          if (mine.send != mine.receive)
            throw std::logic_error("plait: an uneven all_to_all sends " + std::to_string(mine.send) + " elements to its own rank, which wants " + std::to_string(mine.receive));
          for (std::size_t m = 0; m < theirs.size(); ++m) {
            const void* const from = m == me ? in + static_cast<std::size_t>(mine.send_at) * element : theirs[m].payload.data();
            copy(out + static_cast<std::size_t>(c.blocks[m].receive_at) * element, from, static_cast<std::size_t>(c.blocks[m].receive) * element);
          }
          break;
        }
        receive([&](int) { return c.count; }, 0);
        for (std::size_t m = 0; m < theirs.size(); ++m)
          copy(out + m * block, m == me ? in + (c.kind == collective_kind::all_to_all ? me * block : 0) : theirs[m].payload.data(), block);
        break;
      case collective_kind::reduce_scatter:
        receive([&](int) { return c.count; }, 0);
        reduce(o, theirs, in + me * block, out, c.count);
        break;
      case collective_kind::all_reduce: {
        const part mine = share(c, me_);
        receive([&](int) { return mine.count; }, 0);
        std::vector<char> sum(static_cast<std::size_t>(mine.count) * element);
        reduce(o, theirs, in + static_cast<std::size_t>(mine.begin) * element, sum.data(), mine.count);
        flush(o);  // the input may be the output
        for (int m = 0; m < size(); ++m)
          if (m != me_) post(o, m, sum.data(), mine.count, 1);
        receive([&](int m) { return share(c, m).count; }, 1);
        for (int m = 0; m < size(); ++m) {
          const part p = share(c, m);
          copy(out + static_cast<std::size_t>(p.begin) * element, m == me_ ? sum.data() : theirs[static_cast<std::size_t>(m)].payload.data(),
               static_cast<std::size_t>(p.count) * element);
        }
        flush(o);
        break;
      }
      default: break;
    }
    flush(o);
  }

  process::links* wires_;
  const backend* ops_;
  std::uint32_t channel_;
  std::vector<int> members_;
  int me_;
  std::uint64_t next_ = 0, collectives_ = 0;
  std::vector<std::uint64_t> sent_, received_;  // letters, by peer
  std::map<std::uint64_t, operation> operations_;
  std::deque<std::uint64_t> order_;             // collectives not yet complete
};

}  // namespace plait::inline v0_1
