#pragma once
// What a person at a terminal sees of a run that goes on: one line that rewrites itself, or text as it comes.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

namespace trainer {

inline bool is_terminal(std::FILE* stream) { return ::isatty(::fileno(stream)) != 0; }

/// A line that the next one replaces, on a terminal; anywhere else each is a line of its own. A terminal that is gone or a full disk
/// does not end the run.
class status_line {
 public:
  explicit status_line(std::FILE* stream) : stream_(stream), terminal_(is_terminal(stream)) {}
  status_line(const status_line&) = delete;
  status_line& operator=(const status_line&) = delete;
  ~status_line() { end(); }

  bool rewrites() const { return terminal_; }
  /// `text`: without an end of line; what does not fit the terminal's width is cut off.
  void show(std::string text) {
    if (terminal_) text = erased + text.substr(0, columns() - 1);  // in the last column the cursor might go on to the next line
    else text += '\n';
    write(text);
    open_ = terminal_;
  }
  /// The line stays; what is written next, to whichever stream, comes below it.
  void end() { write(std::exchange(open_, false) ? "\n" : ""); }
  void erase() {
    if (std::exchange(open_, false)) write(erased);
  }

 private:
  static constexpr const char* erased = "\r\033[K";
  void write(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stream_);
    std::fflush(stream_);
  }
  /// 80 where the terminal does not say.
  std::size_t columns() const {
    winsize window {};
    if (::ioctl(::fileno(stream_), TIOCGWINSZ, &window) != 0 || window.ws_col == 0) return 80;
    return std::max<std::size_t>(window.ws_col, 2);
  }

  std::FILE* stream_;
  bool terminal_, open_ = false;
};

}  // namespace trainer
