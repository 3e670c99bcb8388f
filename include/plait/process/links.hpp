#pragma once
// Messages between processes over connected sockets. One thread moves them, so that transfers run beside the computation; the same
// thread notices that a process is gone, silent or has failed, and tells everyone else.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "plait/process/peer_stream.hpp"
#include "plait/process/process_failed.hpp"

namespace plait::inline v0_1 {

namespace process {

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
  using outgoing = peer_stream::outgoing;
  using mail_key = std::tuple<int, frame_kind, std::uint32_t, std::uint64_t, std::uint32_t>;

  void wake() {
    const char byte = 0;
    if (::write(wake_write_.get(), &byte, 1) < 0) {
    }  // full: it is awake
  }
  void queue(int peer, outgoing o) {
    peer_stream& p = peers_[static_cast<std::size_t>(peer)];
    if (p.closed || !p.socket) {
      if (o.done != nullptr) --o.done->pending;
      return;
    }
    p.out.push_back(std::move(o));
    wake();
  }
  bool nothing_queued() const {
    for (const peer_stream& p : peers_)
      if (!p.out.empty() && !p.closed) return false;
    return true;
  }
  void drop_borrowed() {
    for (peer_stream& p : peers_) p.release_borrowed();
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
      peer_stream& p = peers_[r];
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
            peer_stream& p = peers_[r];
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
    for (peer_stream& p : peers_)
      if (p.socket && !p.closed) ::shutdown(p.socket.get(), SHUT_WR);
    for (peer_stream& p : peers_)
      if (p.socket && !p.closed) p.await_end(a_moment);
  }

  void send_some(std::unique_lock<std::mutex>& lock, int peer) {
    peer_stream& p = peers_[static_cast<std::size_t>(peer)];
    while (!p.closed && !p.out.empty()) {
      // The lock is held: the call does not block, and whoever cancels must not free what is read here.
      const moved what = p.send();
      if (what == moved::nothing) return;
      if (what == moved::gone) return lost(peer);
      if (what == moved::part) continue;
      changed_.notify_all();
      if (p.out.empty()) return;
      lock.unlock();  // others may queue
      lock.lock();
    }
  }

  void receive_some(int peer) {
    peer_stream& p = peers_[static_cast<std::size_t>(peer)];  // its incoming half belongs to this thread
    for (int rounds = 0; rounds < 64; ++rounds) {
      const moved what = p.receive();
      if (what == moved::nothing) return;
      std::lock_guard lock(mutex_);
      if (what == moved::gone) return lost(peer);
      if (what == moved::foreign) {
        fail_locked("rank " + std::to_string(peer) + " sent what this one does not understand", 1, -1);
        p.closed = true;
        return;
      }
      p.heard = clock::now();
      if (what == moved::whole) deliver(peer, std::exchange(p.in, message()));
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
    peer_stream& p = peers_[static_cast<std::size_t>(peer)];
    p.close();
    if (!p.done && !finished_)
      fail_locked("rank " + std::to_string(peer) + " is gone: its process was killed or its machine cannot be reached", 1, -1);
    changed_.notify_all();
  }

  const int rank_;
  const double limit_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<peer_stream> peers_;
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
