#pragma once
// POSIX files: reading by position, and writing that is whole or absent (sibling temporary file, fsync, rename, fsync
// of the folder).
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "plait/io/error.hpp"
#include "plait/io/write_layer.hpp"

namespace plait::inline v0_1::io {

/// A number in a file's name: with zeros before it, so that names sort as numbers do.
inline std::string zero_padded(std::uint64_t number, std::size_t digits) {
  const std::string text = std::to_string(number);
  return std::string(text.size() < digits ? digits - text.size() : 0, '0') + text;
}

namespace detail {

inline std::string system_text(int code) {
  char buffer[256] = {};
  // The XSI form returns int, the GNU form a pointer: take either.
  const auto text = [&](auto result) -> const char* {
    if constexpr (requires { std::string(result); }) {
      return result;
    } else {
      return result == 0 ? buffer : "unknown error";
    }
  };
  return text(::strerror_r(code, buffer, sizeof buffer));
}

/// A file descriptor that closes itself.
class descriptor {
 public:
  descriptor() = default;
  explicit descriptor(int fd) : fd_(fd) {}
  descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    if (this != &other) {
      close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~descriptor() { close(); }
  int get() const { return fd_; }
  int close() {
    const int fd = std::exchange(fd_, -1);
    return fd < 0 ? 0 : ::close(fd);
  }

 private:
  int fd_ = -1;
};

}  // namespace detail

/// A regular file open for reading by position; safe to share between threads.
class input_file {
 public:
  /// `shown` is what errors call it, where that is not the path (a link that was followed).
  explicit input_file(const std::string& path, std::string shown = {}) : path_(shown.empty() ? path : std::move(shown)) {
    if (path.empty() || path.find('\0') != std::string::npos) throw input_error(path_, "", "is not a usable file name");
    int fd;
    do {
      fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) throw input_error(path_, "", "cannot be opened: " + detail::system_text(errno) + "; check the path");
    file_ = detail::descriptor(fd);
    struct stat status {};
    if (::fstat(fd, &status) != 0) throw input_error(path_, "", "cannot be examined: " + detail::system_text(errno));
    if (!S_ISREG(status.st_mode)) throw input_error(path_, "", "is not a regular file; name a file");
    size_ = static_cast<std::uint64_t>(status.st_size);
  }
  const std::string& path() const { return path_; }
  /// The size when it was opened.
  std::uint64_t size() const { return size_; }
  /// Exactly `count` bytes from `offset`, or input_error (the file became shorter, the device failed).
  void read(std::uint64_t offset, std::size_t count, void* out) const {
    char* to = static_cast<char*>(out);
    while (count > 0) {
      const ssize_t got = ::pread(file_.get(), to, std::min(count, std::size_t{1} << 30), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw input_error(path_, "", "cannot be read: " + detail::system_text(errno));
      if (got == 0) throw input_error(path_, "", "became shorter while it was read; leave the file alone while it loads");
      const auto n = static_cast<std::size_t>(got);
      to += n;
      offset += n;
      count -= n;
    }
  }

 private:
  std::string path_;
  detail::descriptor file_;
  std::uint64_t size_ = 0;
};

/// The whole of a small file. Refused before anything is allocated when it is larger than `limit` bytes.
inline std::string read_text_file(const std::string& path, std::uint64_t limit, std::string shown = {}) {
  const input_file file(path, std::move(shown));
  if (file.size() > limit)
    throw input_error(
        file.path(), "",
        "is " + std::to_string(file.size()) + " bytes large; at most " + std::to_string(limit) + " are accepted here");
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, text.size(), text.data());
  return text;
}

/// A new file open for writing, at its final path. Nothing is removed on failure: its folder is its owner's business.
class new_file {
 public:
  explicit new_file(std::string path) : path_(std::move(path)) {
    int fd;
    do {
      fd = writes().create(path_.c_str());
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) fail("creating the file", errno);
    file_ = fd;
  }
  new_file(const new_file&) = delete;
  new_file& operator=(const new_file&) = delete;
  ~new_file() {
    if (file_ >= 0) writes().close(file_);
  }
  void write(const void* data, std::size_t count) {
    const char* from = static_cast<const char*>(data);
    while (count > 0) {
      const ssize_t put = writes().write(file_, from, std::min(count, std::size_t{1} << 30));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) fail("writing", errno);
      from += put;
      count -= static_cast<std::size_t>(put);
    }
  }
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// On the device when this returns. A failed fsync is final: trying again would only forget the loss.
  void finish() {
    if (writes().sync(file_) != 0) fail("fsync", errno);
    if (writes().close(std::exchange(file_, -1)) != 0) fail("closing", errno);
  }

 private:
  [[noreturn]] void fail(std::string_view what, int code) { throw output_error(path_, what, detail::system_text(code)); }
  std::string path_;
  int file_ = -1;
};

/// Makes the names in a folder durable.
inline void sync_folder(const std::string& path) {
  const int fd = writes().open_folder(path.c_str());
  if (fd < 0) throw output_error(path, "opening the folder", detail::system_text(errno));
  const int result = writes().sync(fd), code = errno;
  writes().close(fd);
  if (result != 0 && code != EINVAL) throw output_error(path, "fsync of the folder", detail::system_text(code));
}

/// A new file that appears under its name only when `commit` succeeds; otherwise nothing is left behind.
class output_file {
 public:
  explicit output_file(std::string path) : path_(std::move(path)) {
    static std::atomic<unsigned> counter{0};
    const std::size_t slash = path_.rfind('/');
    folder_ = slash == std::string::npos ? "." : slash == 0 ? "/" : path_.substr(0, slash);
    const std::string name = slash == std::string::npos ? path_ : path_.substr(slash + 1);
    if (name.empty() || path_.find('\0') != std::string::npos)
      throw output_error(path_, "creating the file", "not a usable file name");
    temporary_ = folder_ + "/." + name.substr(0, 180) + ".partial-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    try {
      file_.emplace(temporary_);
    } catch (const output_error&) {
      throw output_error(path_, "creating the file", detail::system_text(errno));
    }
  }
  output_file(const output_file&) = delete;
  output_file& operator=(const output_file&) = delete;
  ~output_file() {
    if (!committed_ && file_) writes().remove_file(temporary_.c_str());
  }
  void write(const void* data, std::size_t count) { file_->write(data, count); }
  void write(std::string_view text) { file_->write(text); }
  void commit() {
    file_->finish();
    if (writes().rename(temporary_.c_str(), path_.c_str()) != 0)
      throw output_error(path_, "renaming", detail::system_text(errno));
    committed_ = true;
    sync_folder(folder_);
  }

 private:
  std::string path_;
  std::string folder_;
  std::string temporary_;
  std::optional<new_file> file_;
  bool committed_ = false;
};

/// Writes a text file whole or not at all.
inline void write_text_file(const std::string& path, std::string_view text) {
  output_file file(path);
  file.write(text);
  file.commit();
}

}  // namespace plait::inline v0_1::io
