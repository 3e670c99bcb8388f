#pragma once
// What the library asks of a communicator: a small base concept, and one concept per collective. Every collective is start ->
// ticket -> wait; buffers live until wait. Blocks are equal on all ranks (callers pad), so that NCCL fits without a second design; only an
// uneven all_to_all has counts, of which both sides know theirs.
#include <cstdint>

#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {

enum class collective_kind : std::uint8_t { all_gather, reduce_scatter, all_reduce, all_to_all, send, receive };

constexpr const char* name_of(collective_kind k) {
  switch (k) {
    case collective_kind::all_gather: return "all_gather";
    case collective_kind::reduce_scatter: return "reduce_scatter";
    case collective_kind::all_reduce: return "all_reduce";
    case collective_kind::all_to_all: return "all_to_all";
    case collective_kind::send: return "send";
    case collective_kind::receive: return "receive";
  }
  return "?";
}

/// What a member of a group exchanges with one other (or with itself) in an uneven all_to_all: elements, and where they begin in
/// the caller's `in` and `out`. Either count may be 0; blocks to send may overlap, blocks to receive do not.
struct exchange_block {
  std::int64_t send = 0, send_at = 0;        // for that member
  std::int64_t receive = 0, receive_at = 0;  // from it: as many as it sends
};

/// One call. `count` is elements per block: all_gather in 1, out n blocks; reduce_scatter in n, out 1; all_to_all n and n;
/// all_reduce 1 and 1 (in may be out). Sums are kept in statistic_of(type) and rounded once.
struct collective {
  collective_kind kind = collective_kind::all_reduce;
  const void* in = nullptr;
  void* out = nullptr;
  std::int64_t count = 0;
  dtype type = dtype::f32;
  bool maximum = false;      // all_reduce: maximum instead of sum
  int peer = -1;             // send, receive
  const char* where = "";    // for messages
  const execution* queue = nullptr;  // the caller's: the call reads its input after what is queued there, and after wait
                                     // whatever is queued there sees its output. Null: at once (host memory)
  const exchange_block* blocks = nullptr;  // all_to_all: one a member, on the host, kept until wait; count is 0. Null: n equal
                                           // blocks of count
};

/// Names a started collective until it is waited for.
struct ticket {
  std::uint64_t number = 0;
};

template <class C>
concept communicator = requires(C& c) {
  c.rank();
  c.size();
};
template <class C>
concept can_all_gather = communicator<C> && requires(C& c, const void* in, void* out, ticket t) {
  t = c.start_all_gather(in, out, std::int64_t{}, dtype::f32);
  c.wait(t);
};
template <class C>
concept can_reduce_scatter = communicator<C> && requires(C& c, const void* in, void* out, ticket t) {
  t = c.start_reduce_scatter(in, out, std::int64_t{}, dtype::f32);
  c.wait(t);
};
template <class C>
concept can_all_reduce = communicator<C> && requires(C& c, const void* in, void* out, ticket t) {
  t = c.start_all_reduce(in, out, std::int64_t{}, dtype::f32, false);
  c.wait(t);
};
template <class C>
concept can_all_to_all = communicator<C> && requires(C& c, const void* in, void* out, ticket t) {
  t = c.start_all_to_all(in, out, std::int64_t{}, dtype::f32);
  c.wait(t);
};
/// Blocks that differ from member to member: blocks[m] says what goes to member m and what comes from it.
template <class C>
concept can_all_to_all_uneven = communicator<C> && requires(C& c, const void* in, void* out, const exchange_block* blocks, ticket t) {
  t = c.start_all_to_all_uneven(in, out, blocks, dtype::f32);
  c.wait(t);
};
template <class C>
concept can_send_receive = communicator<C> && requires(C& c, const void* in, void* out, ticket t) {
  t = c.start_send(0, in, std::int64_t{}, dtype::f32);
  t = c.start_receive(0, out, std::int64_t{}, dtype::f32);
  c.wait(t);
};

/// The same, behind one pointer: what the runtime holds, so that no op is a template on a communicator.
class any_communicator {
 public:
  virtual ~any_communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual ticket start(const collective& call) = 0;
  virtual void wait(ticket t) = 0;
  /// Buffers of started calls are about to go without a wait (an exception unwinds): give the group up, return once nobody uses them.
  virtual void cancel() = 0;
};

/// Wraps anything that models the concepts.
template <class C>
  requires can_all_gather<C> && can_reduce_scatter<C> && can_all_reduce<C> && can_all_to_all<C> && can_all_to_all_uneven<C>
class erased final : public any_communicator {
 public:
  explicit erased(C& c) : c_(&c) {}
  int rank() const override { return c_->rank(); }
  int size() const override { return c_->size(); }
  void wait(ticket t) override { c_->wait(t); }
  void cancel() override {
    if constexpr (requires { c_->cancel(); }) c_->cancel();
  }
  ticket start(const collective& call) override {
    switch (call.kind) {
      case collective_kind::all_gather: return c_->start_all_gather(call.in, call.out, call.count, call.type);
      case collective_kind::reduce_scatter: return c_->start_reduce_scatter(call.in, call.out, call.count, call.type);
      case collective_kind::all_reduce: return c_->start_all_reduce(call.in, call.out, call.count, call.type, call.maximum);
      case collective_kind::all_to_all:
        if (call.blocks != nullptr) return c_->start_all_to_all_uneven(call.in, call.out, call.blocks, call.type);
        return c_->start_all_to_all(call.in, call.out, call.count, call.type);
      case collective_kind::send:
        if constexpr (can_send_receive<C>) return c_->start_send(call.peer, call.in, call.count, call.type);
        break;
      case collective_kind::receive:
        if constexpr (can_send_receive<C>) return c_->start_receive(call.peer, call.out, call.count, call.type);
        break;
    }
    return {};
  }

 private:
  C* c_;
};

}  // namespace plait::inline v0_1
