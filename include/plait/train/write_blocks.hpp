#pragma once
// What the writing of a checkpoint is made of: a file in blocks with a digest each, and the boxes of a shard in the order of the file.
#include <cstdint>
#include <string>
#include <vector>

#include "plait/io/file.hpp"
#include "plait/io/hash.hpp"
#include "plait/runtime/view.hpp"
#include "plait/train/checkpoint_files.hpp"

namespace plait::inline v0_1 {
namespace detail {

/// Writes a file block by block, with a digest of each.
class block_writer {
 public:
  block_writer(const std::string& path, std::int64_t block) : file_(path) { buffer_.reserve(static_cast<std::size_t>(block)); }
  void write(const void* data, std::size_t count) {
    const char* from = static_cast<const char*>(data);
    while (count > 0) {
      const std::size_t part = std::min(count, buffer_.capacity() - buffer_.size());
      buffer_.insert(buffer_.end(), from, from + part);
      from += part;
      count -= part;
      if (buffer_.size() == buffer_.capacity()) flush();
    }
  }
  void finish() {
    if (!buffer_.empty()) flush();
    file_.finish();
  }
  const std::vector<io::digest>& blocks() const { return blocks_; }

 private:
  void flush() {
    blocks_.push_back(io::digest_of(buffer_.data(), buffer_.size()));
    file_.write(buffer_.data(), buffer_.size());
    buffer_.clear();
  }
  io::new_file file_;
  std::vector<char> buffer_;
  std::vector<io::digest> blocks_;
};

/// Hands the rows of a box of a row-major shard to `sink`, in order.
template <class Sink>
void rows_of_box(const view& shard, const shard_box& part, std::size_t element, const char* data, Sink sink) {
  std::int64_t run = 1;
  int outer = shard.rank;
  while (outer > 0) {
    --outer;
    run *= part.box.count[static_cast<std::size_t>(outer)];
    if (part.box.count[static_cast<std::size_t>(outer)] != shard.extent[outer]) break;
  }
  std::int64_t at[4] = {};
  while (true) {
    std::int64_t offset = 0;
    for (int d = 0; d < shard.rank; ++d) offset = offset * shard.extent[d] + at[d];
    sink(data + static_cast<std::size_t>(part.offset + offset) * element, static_cast<std::size_t>(run) * element);
    int d = outer;
    while (d > 0 && ++at[d - 1] == part.box.count[static_cast<std::size_t>(d - 1)]) at[--d] = 0;
    if (d == 0) return;
  }
}

}  // namespace detail

}  // namespace plait::inline v0_1
