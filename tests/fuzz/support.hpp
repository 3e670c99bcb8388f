#pragma once
// What the fuzz targets share: files in memory, and what a reader may do with bad input: refuse it in one clean line.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "plait/io/error.hpp"

namespace fuzz {

/// Like assert, in every build.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

/// Runs a reader. It may throw input_error with a clean line; every other exception ends the program.
template <class Run>
void read(Run run) {
  try {
    run();
  } catch (const plait::io::input_error& error) {
    const std::string_view line = error.what();
    bool clean = !line.empty() && line.size() < 2000 && plait::io::is_utf8(line);
    for (const char c : line) clean = clean && static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
    require(clean, "the message is one clean line");
  }
}

/// A file in memory that has a path.
class memory_file {
 public:
  memory_file() : fd_(::memfd_create("plait-fuzz", 0)) { require(fd_ >= 0, "memfd_create"); }
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;
  ~memory_file() { ::close(fd_); }
  void set(std::string_view bytes) {
    require(::ftruncate(fd_, 0) == 0 && ::pwrite(fd_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
            "pwrite");
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace fuzz
