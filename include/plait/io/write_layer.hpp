#pragma once
// Every call by which this library changes a file system, behind one table, so that a test can make any of them fail, cut it short
// or end the process there. Reading does not pass through here.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>

namespace plait::inline v0_1::io {

/// The system's own calls; each returns what the system call returns and sets errno.
struct write_layer {
  virtual ~write_layer() = default;
  /// A new file for writing; it must not be there yet.
  virtual int create(const char* path) { return ::open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); }
  virtual ssize_t write(int file, const void* data, std::size_t count) { return ::write(file, data, count); }
  virtual int sync(int file) { return ::fsync(file); }
  virtual int close(int file) { return ::close(file); }
  virtual int open_folder(const char* path) { return ::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); }
  virtual int rename(const char* from, const char* to) { return ::rename(from, to); }
  virtual int remove_file(const char* path) { return ::unlink(path); }
  virtual int make_folder(const char* path) { return ::mkdir(path, 0777); }
  virtual int remove_folder(const char* path) { return ::rmdir(path); }
};

namespace detail {
inline write_layer*& current_write_layer() {
  static write_layer system;
  static write_layer* current = &system;
  return current;
}
}  // namespace detail

inline write_layer& writes() { return *detail::current_write_layer(); }

/// Replaces the layer for the time of a scope. Nothing may be writing when it begins or ends.
class scoped_write_layer {
 public:
  explicit scoped_write_layer(write_layer& layer) : before_(detail::current_write_layer()) { detail::current_write_layer() = &layer; }
  scoped_write_layer(const scoped_write_layer&) = delete;
  scoped_write_layer& operator=(const scoped_write_layer&) = delete;
  ~scoped_write_layer() { detail::current_write_layer() = before_; }

 private:
  write_layer* before_;
};

}  // namespace plait::inline v0_1::io
