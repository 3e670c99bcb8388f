#pragma once
// Messages between processes over connected sockets. One thread moves them, so that transfers run beside the computation; the same
// thread notices that a process is gone, silent or has failed, and tells everyone else.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "plait/process/socket.hpp"

namespace plait::inline v0_1 {

/// Another process is gone, silent or has failed, or a wait has passed its limit. `exit_code` is what the failed one ends with.
struct process_failed : std::runtime_error {
  explicit process_failed(const std::string& what, int code = 1) : std::runtime_error(what), exit_code(code) {}
  int exit_code;
};

namespace process {

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

class links {
 public:
  /// `sockets` by rank; those without one are not linked. `limit`: how long anything may take, in seconds.
  links(int rank, std::vector<descriptor> sockets, double limit) : rank_(rank), limit_(limit), peers_(sockets.size()) {
    int wake[2];
    if (::pipe(wake) != 0) throw process_failed(std::string("a pipe cannot be made: ") + std::strerror(errno));
    wake_read_ = descriptor(wake[0]);
    wake_write_ = descriptor(wake[1]);
    for (const int fd : wake) {
      set_nonblocking(fd);
      ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    for (std::size_t r = 0; r < sockets.size(); ++r) {
      peers_[r].socket = std::move(sockets[r]);
      peers_[r].heard = clock::now();
    }
    thread_ = std::thread([this] { run(); });
  }
  links(const links&) = delete;
  links& operator=(const links&) = delete;
  ~links() {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake();
    thread_.join();
  }

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(peers_.size()); }
  bool linked(int peer) const { return static_cast<bool>(peers_[static_cast<std::size_t>(peer)].socket); }
  double limit() const { return limit_; }

  /// Sends a copy of a text.
  void post(int peer, frame head, std::string text) {
    std::lock_guard lock(mutex_);
    head.bytes = text.size();
    queue(peer, {head, nullptr, std::move(text), nullptr});
  }
  /// Sends memory that stays until `done` has counted it.
  void post(int peer, frame head, const void* data, flight& done) {
    std::lock_guard lock(mutex_);
    if (!failure_.empty()) return;  // the wait says so
    ++done.pending;
    queue(peer, {head, static_cast<const char*>(data), {}, &done});
  }
  /// The next message of that kind from `peer`. `what` says what waits, for the message if it waits in vain.
  template <class What>
  message take(int peer, frame_kind kind, std::uint32_t channel, std::uint64_t number, std::uint32_t part, What what) {
    std::unique_lock lock(mutex_);
    const mail_key key{peer, kind, channel, number, part};
    wait(lock, peer, [&] { return mail_.contains(key); }, what);
    message m = std::move(mail_.at(key));
    mail_.erase(key);
    return m;
  }
  template <class What>
  void flush(const flight& f, What what) {
    std::unique_lock lock(mutex_);
    wait(lock, -1, [&] { return f.pending == 0; }, what);
  }
  /// Returns when nobody reads memory that was posted; what is left of it is not sent. For buffers that go while their run fails.
  void cancel() {
    std::lock_guard lock(mutex_);
    drop_borrowed();
  }

  // values by name, kept by rank 0 ----------------------------------------------------------------------------------------------
  void set(const std::string& name, const std::string& value) {
    if (rank_ == 0) {
      std::lock_guard lock(mutex_);
      keep_value(name, value);
      return;
    }
    frame head;
    head.kind = frame_kind::value_set;
    post(0, head, name + '\n' + value);
  }
  template <class What>
  std::string get(const std::string& name, What what) {
    frame head;
    head.kind = frame_kind::value_wanted;
    if (rank_ != 0) post(0, head, name);
    std::unique_lock lock(mutex_);
    wait(lock, rank_ == 0 ? -1 : 0, [&] { return values_.contains(name); }, what);
    return values_.at(name);
  }

  // failing and ending ----------------------------------------------------------------------------------------------------------
  /// Ends the run on every rank. The first reason counts.
  void fail(const std::string& why, int exit_code = 1) {
    std::lock_guard lock(mutex_);
    fail_locked(why, exit_code, -1);
  }
  std::string failure() const {
    std::lock_guard lock(mutex_);
    return failure_;
  }
  int exit_code() const {
    std::lock_guard lock(mutex_);
    return exit_code_;
  }
  /// Called once, on the links' thread, when the run has failed: to stop work that does not look here (a device's).
  void on_failure(std::function<void(const std::string&)> f) {
    std::lock_guard lock(mutex_);
    on_failure_ = std::move(f);
  }
  /// Called on the links' thread if the process still runs `grace_seconds` after the run has failed; it must end the process.
  void on_last_resort(std::function<void(const std::string&, int)> f) {
    std::lock_guard lock(mutex_);
    last_resort_ = std::move(f);
  }
  static constexpr int grace_seconds = 8;
  /// Says that this rank is done and waits until all are: rank 0 collects, then lets everyone go.
  void finish() {
    const auto say = [&] {
      for (int r = 0; r < size(); ++r)
        if (linked(r)) {
          frame head;
          head.kind = frame_kind::done;
          post(r, head, std::string());
        }
    };
    const auto what = [] { return std::string("the end of the run"); };
    if (rank_ != 0) say();
    {
      std::unique_lock lock(mutex_);
      for (std::size_t r = 0; r < peers_.size(); ++r)
        if (linked(static_cast<int>(r)) && (rank_ == 0 || r == 0)) wait(lock, -1, [&] { return peers_[r].done; }, what, static_cast<int>(r));
      finished_ = true;
    }
    if (rank_ == 0) say();
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(5), [&] { return nothing_queued() || !failure_.empty(); });
  }

  /// Waits for ready() under the lock. Throws when the run has failed, when `peer` (-1: nobody in particular) has ended, when time is up.
  template <class Ready, class What>
  void wait(std::unique_lock<std::mutex>& lock, int peer, Ready ready, What what, int late = -1) {
    const auto gone = [&] { return peer >= 0 && peers_[static_cast<std::size_t>(peer)].done; };
    const time_limit limit(limit_);
    while (!ready() && failure_.empty() && !gone() && !limit.passed()) changed_.wait_until(lock, limit.end());
    if (ready() && failure_.empty()) return;
    const std::string me = "rank " + std::to_string(rank_);
    if (failure_.empty() && gone())
      fail_locked("rank " + std::to_string(peer) + " returned while " + me + " waits for it in " + what() + "; every rank must take part in every collective", 1, -1);
    if (failure_.empty()) {
      if (late < 0) late = peer;
      fail_locked(me + " has waited " + seconds_text(limit_) + (late >= 0 ? " for rank " + std::to_string(late) : std::string()) + " in " + what() +
                      (late >= 0 && linked(late) ? silence_of(late) : std::string()) + "; --deadline allows no more", 1, -1);
      throw process_failed(failure_, exit_code_);
    }
    throw process_failed(failure_ + "; " + me + " was in " + what(), exit_code_);
  }

 private:
  struct outgoing {
    frame head;
    const char* borrowed = nullptr;
    std::string own;
    flight* done = nullptr;
    std::size_t sent = 0;  // of head and payload together
  };
  struct peer_state {
    descriptor socket;
    std::deque<outgoing> out;
    message in;
    std::size_t received = 0;  // of head and payload together
    clock::time_point heard;
    bool done = false;  // has said that it is
    bool closed = false;
  };
  using mail_key = std::tuple<int, frame_kind, std::uint32_t, std::uint64_t, std::uint32_t>;

  void wake() {
    const char byte = 0;
    if (::write(wake_write_.get(), &byte, 1) < 0) {
    }  // full: it is awake
  }
  void queue(int peer, outgoing o) {
    peer_state& p = peers_[static_cast<std::size_t>(peer)];
    if (p.closed || !p.socket) {
      if (o.done != nullptr) --o.done->pending;
      return;
    }
    p.out.push_back(std::move(o));
    wake();
  }
  bool nothing_queued() const {
    for (const peer_state& p : peers_)
      if (!p.out.empty() && !p.closed) return false;
    return true;
  }
  void drop_borrowed() {
    for (peer_state& p : peers_) {
      for (outgoing& o : p.out)
        if (o.done != nullptr) --o.done->pending, o.done = nullptr;
      std::erase_if(p.out, [](const outgoing& o) { return o.borrowed != nullptr && o.sent == 0; });
      if (!p.out.empty() && p.out.front().borrowed != nullptr) {  // half of it is sent; the rest goes out of a copy
        outgoing& o = p.out.front();
        o.own.assign(o.borrowed, static_cast<std::size_t>(o.head.bytes));
        o.borrowed = nullptr;
      }
    }
    changed_.notify_all();
  }
  std::string silence_of(int peer) const {
    const double silent = std::chrono::duration<double>(clock::now() - peers_[static_cast<std::size_t>(peer)].heard).count();
    return silent > 2 * beat() + 1 ? " (whose process has not been heard of for " + seconds_text(static_cast<double>(static_cast<int>(silent))) + ")"
                                   : " (whose process is alive)";
  }
  double beat() const { return std::clamp(limit_ / 10, 0.1, 5.0); }

  void fail_locked(const std::string& why, int code, int from) {
    if (!failure_.empty()) return;
    failure_ = why;
    failed_at_ = clock::now();
    exit_code_ = code;
    drop_borrowed();
    for (std::size_t r = 0; r < peers_.size(); ++r) {
      peer_state& p = peers_[r];
      if (!p.socket || p.closed || static_cast<int>(r) == from) continue;
      frame head;
      head.kind = frame_kind::failed;
      head.number = static_cast<std::uint64_t>(code);
      head.bytes = why.size();
      p.out.push_back({head, nullptr, why, nullptr});
    }
    tell_ = true;
    changed_.notify_all();
    wake();
  }

  void keep_value(const std::string& name, const std::string& value) {
    values_[name] = value;
    const auto asked = wanted_.find(name);
    if (asked != wanted_.end()) {
      for (const int peer : asked->second) answer(peer, name);
      wanted_.erase(asked);
    }
    changed_.notify_all();
  }
  void answer(int peer, const std::string& name) {
    frame head;
    head.kind = frame_kind::value;
    const std::string text = name + '\n' + values_.at(name);
    head.bytes = text.size();
    queue(peer, {head, nullptr, text, nullptr});
  }

  // the links' thread -----------------------------------------------------------------------------------------------------------
  void run() {
    auto next_beat = clock::now();
    std::vector<pollfd> fds;
    std::vector<int> owner;
    while (true) {
      std::function<void(const std::string&)> tell;
      std::string why;
      {
        std::unique_lock lock(mutex_);
        if (closing_) return hang_up(lock);
        if (!failure_.empty() && last_resort_ && clock::now() - failed_at_ > std::chrono::seconds(grace_seconds)) last_resort_(failure_, exit_code_);
        if (std::exchange(tell_, false) && on_failure_) tell = on_failure_, why = failure_;
        const auto now = clock::now();
        if (now >= next_beat) {
          next_beat = now + std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(beat()));
          for (std::size_t r = 0; r < peers_.size(); ++r) {
            peer_state& p = peers_[r];
            if (!p.socket || p.closed || p.done) continue;
            if (p.out.empty()) {
              frame head;
              head.kind = frame_kind::alive;
              p.out.push_back({head, nullptr, {}, nullptr});
            }
            if (std::chrono::duration<double>(now - p.heard).count() > limit_)
              fail_locked("rank " + std::to_string(r) + " has not been heard of for " + seconds_text(limit_) +
                              ": its process is stopped or its machine cannot be reached", 1, -1);
          }
        }
        fds.assign(1, {wake_read_.get(), POLLIN, 0});
        owner.assign(1, -1);
        for (std::size_t r = 0; r < peers_.size(); ++r)
          if (peers_[r].socket && !peers_[r].closed) {
            fds.push_back({peers_[r].socket.get(), static_cast<short>(POLLIN | (peers_[r].out.empty() ? 0 : POLLOUT)), 0});
            owner.push_back(static_cast<int>(r));
          }
      }
      if (tell) tell(why);
      ::poll(fds.data(), fds.size(), static_cast<int>(1000 * std::min(beat(), 0.5)));
      char drain[256];
      while (::read(wake_read_.get(), drain, sizeof drain) > 0) {
      }
      for (std::size_t i = 1; i < fds.size(); ++i) {
        if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) receive_some(owner[i]);
        std::unique_lock lock(mutex_);
        send_some(lock, owner[i]);
      }
    }
  }

  /// What is queued still goes out; then the others' ends are awaited for a moment, so that nothing of ours is lost on the way.
  void hang_up(std::unique_lock<std::mutex>& lock) {
    const time_limit limit(2);
    while (!nothing_queued() && !limit.passed()) {
      for (std::size_t r = 0; r < peers_.size(); ++r)
        if (peers_[r].socket) send_some(lock, static_cast<int>(r));
      if (!nothing_queued()) changed_.wait_for(lock, std::chrono::milliseconds(5));
    }
    const time_limit a_moment(1);
    char drain[4096];
    for (peer_state& p : peers_)
      if (p.socket && !p.closed) ::shutdown(p.socket.get(), SHUT_WR);
    for (peer_state& p : peers_)
      while (p.socket && !p.closed && !a_moment.passed()) {
        pollfd waits{p.socket.get(), POLLIN, 0};
        ::poll(&waits, 1, a_moment.milliseconds(100));
        const ssize_t n = ::recv(p.socket.get(), drain, sizeof drain, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) break;
      }
  }

  void send_some(std::unique_lock<std::mutex>& lock, int peer) {
    peer_state& p = peers_[static_cast<std::size_t>(peer)];
    while (!p.closed && !p.out.empty()) {
      outgoing& o = p.out.front();
      const std::size_t head = sizeof(frame), all = head + static_cast<std::size_t>(o.head.bytes);
      const char* from = o.sent < head ? reinterpret_cast<const char*>(&o.head) + o.sent
                                       : (o.borrowed != nullptr ? o.borrowed : o.own.data()) + (o.sent - head);
      const std::size_t bytes = std::min<std::size_t>(o.sent < head ? head - o.sent : all - o.sent, std::size_t{1} << 20);
      // The lock is held: the call does not block, and whoever cancels must not free what is read here.
      const ssize_t n = bytes == 0 ? 0 : ::send(p.socket.get(), from, bytes, MSG_NOSIGNAL);
      if (n < 0) {
        if (errno == EAGAIN || errno == EINTR) return;
        lost(peer);
        return;
      }
      o.sent += static_cast<std::size_t>(n);
      if (o.sent < all) continue;
      if (o.done != nullptr) --o.done->pending;
      p.out.pop_front();
      changed_.notify_all();
      if (p.out.empty()) return;
      lock.unlock();  // others may queue
      lock.lock();
    }
  }

  void receive_some(int peer) {
    peer_state& p = peers_[static_cast<std::size_t>(peer)];  // its incoming half belongs to this thread
    for (int rounds = 0; rounds < 64; ++rounds) {
      const std::size_t head = sizeof(frame);
      char* to;
      std::size_t bytes;
      if (p.received < head) {
        to = reinterpret_cast<char*>(&p.in.head) + p.received;
        bytes = head - p.received;
      } else {
        to = p.in.payload.data() + (p.received - head);
        bytes = static_cast<std::size_t>(p.in.head.bytes) + head - p.received;
      }
      const ssize_t n = bytes == 0 ? 0 : ::recv(p.socket.get(), to, bytes, 0);
      if (bytes > 0 && n <= 0) {
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        std::lock_guard lock(mutex_);
        lost(peer);
        return;
      }
      p.received += static_cast<std::size_t>(n);
      if (p.received == head && n > 0) {
        if (p.in.head.magic != frame().magic) {
          std::lock_guard lock(mutex_);
          fail_locked("rank " + std::to_string(peer) + " sent what this one does not understand", 1, -1);
          p.closed = true;
          return;
        }
        p.in.payload.resize(static_cast<std::size_t>(p.in.head.bytes));
      }
      if (p.received >= head && p.received == head + static_cast<std::size_t>(p.in.head.bytes)) {
        p.received = 0;
        std::lock_guard lock(mutex_);
        p.heard = clock::now();
        deliver(peer, std::exchange(p.in, message()));
      } else {
        std::lock_guard lock(mutex_);
        p.heard = clock::now();
      }
    }
  }

  void deliver(int peer, message m) {
    const auto text = [&] { return std::string(m.payload.data(), m.payload.size()); };
    switch (m.head.kind) {
      case frame_kind::alive: return;
      case frame_kind::done: peers_[static_cast<std::size_t>(peer)].done = true; break;
      case frame_kind::failed: fail_locked(text(), static_cast<int>(m.head.number), peer); break;
      case frame_kind::value_set: {
        const std::string both = text();
        const std::size_t cut_at = both.find('\n');
        keep_value(both.substr(0, cut_at), both.substr(cut_at + 1));
        break;
      }
      case frame_kind::value_wanted:
        if (values_.contains(text())) answer(peer, text());
        else wanted_[text()].push_back(peer);
        break;
      case frame_kind::value: {
        const std::string both = text();
        const std::size_t cut_at = both.find('\n');
        values_[both.substr(0, cut_at)] = both.substr(cut_at + 1);
        break;
      }
      default: mail_[{peer, m.head.kind, m.head.channel, m.head.number, m.head.part}] = std::move(m);
    }
    changed_.notify_all();
  }

  void lost(int peer) {
    peer_state& p = peers_[static_cast<std::size_t>(peer)];
    p.closed = true;
    for (outgoing& o : p.out)
      if (o.done != nullptr) --o.done->pending;
    p.out.clear();
    if (!p.done && !finished_)
      fail_locked("rank " + std::to_string(peer) + " is gone: its process was killed or its machine cannot be reached", 1, -1);
    changed_.notify_all();
  }

  const int rank_;
  const double limit_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<peer_state> peers_;
  std::map<mail_key, message> mail_;
  std::map<std::string, std::string> values_;
  std::map<std::string, std::vector<int>> wanted_;
  std::string failure_;
  int exit_code_ = 1;
  clock::time_point failed_at_{};
  std::function<void(const std::string&)> on_failure_;
  std::function<void(const std::string&, int)> last_resort_;
  bool tell_ = false, closing_ = false, finished_ = false;
  descriptor wake_read_, wake_write_;
  std::thread thread_;
};

}  // namespace process
}  // namespace plait::inline v0_1
