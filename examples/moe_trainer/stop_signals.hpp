#pragma once
// Signals that ask a run to stop where it can be continued.
#include <csignal>
#include <cstddef>

namespace trainer {

/// While an active one lives, SIGINT, SIGTERM, SIGHUP and SIGPIPE ask instead of ending the program: the step that runs is finished, a
/// checkpoint is saved. The second SIGINT or SIGTERM ends it at once, as those do. One at a time.
class stop_signals {
 public:
  explicit stop_signals(bool active);
  stop_signals(const stop_signals&) = delete;
  stop_signals& operator=(const stop_signals&) = delete;
  ~stop_signals();

  bool asked() const;

 private:
  static constexpr int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
  static constexpr std::size_t count = sizeof signals / sizeof signals[0];
  bool active_;
  struct sigaction before_[count] {};
};

}  // namespace trainer
