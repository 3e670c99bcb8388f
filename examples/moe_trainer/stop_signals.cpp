#include "stop_signals.hpp"

#include <atomic>
#include <cstdint>
#include <ctime>

namespace trainer {
namespace {

std::atomic<bool> stop_asked{false};  // by a handler, read by all ranks
std::atomic<std::int64_t> first_asked{0};  // in milliseconds, by SIGINT or SIGTERM
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<std::int64_t>::is_always_lock_free);

/// The second SIGINT or SIGTERM ends the program at once, but not within a second of the first: whoever ends a job (a service manager, a
/// scheduler, `timeout`) signals all processes of a group, and a starter among them passes its own on.
void ask(int number) {
  timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  if (!stop_asked || first_asked == 0) first_asked = now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
  stop_asked = true;
  if (now.tv_sec * 1000 + now.tv_nsec / 1'000'000 - first_asked < 1000) return;
  ::signal(number, SIG_DFL);
  ::raise(number);
}

}  // namespace

stop_signals::stop_signals(bool active) : active_(active) {
  if (!active_) return;
  stop_asked = false;
  for (std::size_t i = 0; i < count; ++i) {
    struct sigaction action {};
    // A terminal that closes may say so twice, and a reader of stdout that has gone says so at every line; they may also be ignored, as
    // by nohup.
    const bool asks = signals[i] == SIGINT || signals[i] == SIGTERM;
    action.sa_handler = asks ? ask : [](int) { stop_asked = true; };
    ::sigaction(signals[i], &action, &before_[i]);
    if (!asks && before_[i].sa_handler == SIG_IGN) ::sigaction(signals[i], &before_[i], nullptr);
  }
}

stop_signals::~stop_signals() {
  for (std::size_t i = 0; active_ && i < count; ++i) ::sigaction(signals[i], &before_[i], nullptr);
}

bool stop_signals::asked() const { return stop_asked; }

}  // namespace trainer
