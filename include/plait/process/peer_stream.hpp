#pragma once
// Frames to and from one other process over a socket that never blocks: what is queued, half sent or half received.
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "plait/process/socket.hpp"

namespace plait::inline v0_1::process {

enum class frame_kind : std::uint32_t { data, text, value_set, value_wanted, value, alive, failed, done };

struct frame {
  std::uint32_t magic = 0x706c6169;
  frame_kind kind = frame_kind::data;
  std::uint32_t channel = 0;  // a group of ranks
  std::uint32_t part = 0;     // of an operation with several exchanges
  std::uint64_t number = 0;   // of the operation in its channel
  std::uint64_t bytes = 0;    // of the payload that follows
  std::int64_t count = 0;     // what the sender called, for comparison
  std::uint8_t call = 0, type = 0, maximum = 0, uneven = 0;
  char where[44] = {};
};

struct message {
  frame head;
  std::vector<char> payload;
};

/// Counts the payloads that are still being read; they may be reused at 0.
struct flight {
  int pending = 0;
};

/// What a call has moved: a part of a frame, all that was left of one, nothing for now; or the other end is gone, or no process of ours.
enum class moved { part, whole, nothing, gone, foreign };

/// Locks are its owner's business: `out` and the rest under a lock, `in` and `received` belong to one thread.
struct peer_stream {
  struct outgoing {
    frame head;
    const char* borrowed = nullptr;
    std::string own;
    flight* done = nullptr;
    std::size_t sent = 0;  // of head and payload together
  };
  descriptor socket;
  std::deque<outgoing> out;
  message in;
  std::size_t received = 0;  // of head and payload together
  clock::time_point heard;
  bool done = false;  // has said that it is
  bool closed = false;

  /// Of the first frame that is queued; it leaves the queue when it is whole.
  moved send() {
    outgoing& o = out.front();
    const std::size_t head = sizeof(frame), all = head + static_cast<std::size_t>(o.head.bytes);
    const char* from = o.sent < head ? reinterpret_cast<const char*>(&o.head) + o.sent
                                     : (o.borrowed != nullptr ? o.borrowed : o.own.data()) + (o.sent - head);
    const std::size_t bytes = std::min<std::size_t>(o.sent < head ? head - o.sent : all - o.sent, std::size_t{1} << 20);
    const ssize_t n = bytes == 0 ? 0 : ::send(socket.get(), from, bytes, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN || errno == EINTR ? moved::nothing : moved::gone;
    o.sent += static_cast<std::size_t>(n);
    if (o.sent < all) return moved::part;
    if (o.done != nullptr) --o.done->pending;
    out.pop_front();
    return moved::whole;
  }
  /// Into `in`, which is a message when it is whole; then the next one begins.
  moved receive() {
    const std::size_t head = sizeof(frame);
    char* to;
    std::size_t bytes;
    if (received < head) {
      to = reinterpret_cast<char*>(&in.head) + received;
      bytes = head - received;
    } else {
      to = in.payload.data() + (received - head);
      bytes = static_cast<std::size_t>(in.head.bytes) + head - received;
    }
    const ssize_t n = bytes == 0 ? 0 : ::recv(socket.get(), to, bytes, 0);
    if (bytes > 0 && n <= 0) return n < 0 && (errno == EAGAIN || errno == EINTR) ? moved::nothing : moved::gone;
    received += static_cast<std::size_t>(n);
    if (received == head && n > 0) {
      if (in.head.magic != frame().magic) return moved::foreign;
      in.payload.resize(static_cast<std::size_t>(in.head.bytes));
    }
    if (received < head || received != head + static_cast<std::size_t>(in.head.bytes)) return moved::part;
    received = 0;
    return moved::whole;
  }
  /// Nothing is borrowed any more: what has not begun to be sent is dropped, of what is half sent the rest goes out of a copy.
  void release_borrowed() {
    for (outgoing& o : out)
      if (o.done != nullptr) --o.done->pending, o.done = nullptr;
    std::erase_if(out, [](const outgoing& o) { return o.borrowed != nullptr && o.sent == 0; });
    if (!out.empty() && out.front().borrowed != nullptr) {
      outgoing& o = out.front();
      o.own.assign(o.borrowed, static_cast<std::size_t>(o.head.bytes));
      o.borrowed = nullptr;
    }
  }
  /// Reads, and drops, until the other end has closed.
  void await_end(const time_limit& limit) {
    char drain[4096];
    while (!limit.passed()) {
      pollfd waits{socket.get(), POLLIN, 0};
      ::poll(&waits, 1, limit.milliseconds(100));
      const ssize_t n = ::recv(socket.get(), drain, sizeof drain, MSG_DONTWAIT);
      if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) break;
    }
  }
  void close() {
    closed = true;
    for (outgoing& o : out)
      if (o.done != nullptr) --o.done->pending;
    out.clear();
  }
};

}  // namespace plait::inline v0_1::process
