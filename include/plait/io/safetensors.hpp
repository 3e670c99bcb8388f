#pragma once
// safetensors: 8 bytes little-endian header length, a JSON header, data.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/io/file.hpp"
#include "plait/io/safetensors_header.hpp"

namespace plait::inline v0_1::io {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian, and read as they are");

/// A safetensors file open for reading. Opening validates the whole header against the size of the file; no tensor is
/// read. All reading functions are const and may be called from many threads.
class safetensors_file {
 public:
  /// `shown` is what errors call the file, where that is not its path.
  explicit safetensors_file(const std::string& path, std::string shown = {}) : file_(path, std::move(shown)) {
    const std::uint64_t size = file_.size();
    if (size < 8) throw input_error(this->path(), "header", "is missing: the file has fewer than 8 bytes; copy it again");
    std::uint64_t length = 0;
    file_.read(0, 8, &length);
    if (length > max_header_bytes)
      throw input_error(this->path(), "header length",
                        "is " + std::to_string(length) + "; at most " + std::to_string(max_header_bytes) +
                            " is allowed (is this a safetensors file?)");
    if (length > size - 8)
      throw input_error(this->path(), "header length",
                        "is " + std::to_string(length) + ", but the file ends before that; copy it again");
    {
      std::string header(static_cast<std::size_t>(length), '\0');
      file_.read(8, header.size(), header.data());
      detail::header_reader reader(this->path(), entries_, metadata_, warnings_);
      parse_json(this->path(), "header", header, 64, reader);
    }
    data_ = 8 + length;
    by_name_.resize(entries_.size());
    check_coverage(size - data_);
  }

  const std::string& path() const { return file_.path(); }
  /// All tensors, in the order of their data.
  const std::vector<tensor_entry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// What was accepted but is odd (unknown fields); the first 16.
  const std::vector<std::string>& warnings() const { return warnings_; }
  /// Null where there is no such tensor.
  const tensor_entry* find(std::string_view name) const {
    const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                     [&](std::uint32_t i, std::string_view n) { return entries_[i].name < n; });
    return at != by_name_.end() && entries_[*at].name == name ? &entries_[*at] : nullptr;
  }
  /// Where the data begin in the file.
  std::uint64_t data_begin() const { return data_; }
  /// How many bytes of tensor data were read so far.
  std::uint64_t bytes_read() const { return bytes_read_.load(std::memory_order_relaxed); }

  /// `count` bytes from byte `offset` of the tensor on.
  void read(const tensor_entry& entry, std::uint64_t offset, std::size_t count, void* out) const {
    if (offset > entry.bytes() || count > entry.bytes() - offset)
      throw std::out_of_range("safetensors_file::read: the range is outside the tensor");
    file_.read(data_ + entry.begin + offset, count, out);
    bytes_read_.fetch_add(count, std::memory_order_relaxed);
  }
  /// The whole tensor.
  void read(const tensor_entry& entry, void* out) const { read(entry, 0, static_cast<std::size_t>(entry.bytes()), out); }

  /// The sub-box [start, start + count), row-major, into `out`. Only its own bytes are read, one call a contiguous run.
  void read_box(const tensor_entry& entry, std::span<const std::int64_t> start, std::span<const std::int64_t> count,
                void* out) const {
    require_loadable(entry);
    const std::span<const std::int64_t> shape = entry.shape();
    const std::size_t rank = shape.size();
    if (start.size() != rank || count.size() != rank)
      throw std::out_of_range("safetensors_file::read_box: the box has another number of dimensions than the tensor");
    bool empty = false;
    for (std::size_t d = 0; d < rank; ++d) {
      if (start[d] < 0 || count[d] < 0 || start[d] > shape[d] || count[d] > shape[d] - start[d])
        throw std::out_of_range("safetensors_file::read_box: the box is outside the tensor");
      empty = empty || count[d] == 0;
    }
    if (empty) return;
    if (bits_of(entry.type) % 8 != 0) {
      for (std::size_t d = 0; d < rank; ++d)
        if (count[d] != shape[d]) refuse(entry, "has elements of less than a byte, which only load whole");
      return read(entry, out);
    }
    // The run: the trailing dimensions that are taken whole, and the one before them.
    std::array<std::uint64_t, max_loaded_rank + 1> stride{};  // bytes from one index to the next
    std::uint64_t bytes = bits_of(entry.type) / 8;
    std::uint64_t run = bytes;
    std::size_t outer = rank;  // dimensions before this one are stepped through
    bool whole = true;
    for (std::size_t d = rank; d-- > 0;) {
      stride[d] = bytes;
      if (whole) {
        run = bytes * static_cast<std::uint64_t>(count[d]);
        outer = d;
        whole = count[d] == shape[d];
      }
      bytes *= static_cast<std::uint64_t>(shape[d]);
    }
    std::uint64_t offset = 0;
    for (std::size_t d = 0; d < rank; ++d) offset += stride[d] * static_cast<std::uint64_t>(start[d]);
    std::array<std::int64_t, max_loaded_rank> index{};
    char* to = static_cast<char*>(out);
    for (;;) {
      read(entry, offset, static_cast<std::size_t>(run), to);
      to += run;
      std::size_t d = outer;
      for (; d > 0; --d) {
        if (++index[d - 1] < count[d - 1]) {
          offset += stride[d - 1];
          break;
        }
        offset -= stride[d - 1] * static_cast<std::uint64_t>(count[d - 1] - 1);
        index[d - 1] = 0;
      }
      if (d == 0) return;
    }
  }

  void require_loadable(const tensor_entry& entry) const {
    if (entry.rank > max_loaded_rank)
      refuse(entry,
             "has " + std::to_string(entry.rank) + " dimensions; at most " + std::to_string(max_loaded_rank) + " can be loaded");
    if (!entry.loadable) refuse(entry, "has a dimension above 2^63");
  }

 private:
  [[noreturn]] void refuse(const tensor_entry& entry, const std::string& problem) const {
    throw input_error(path(), "tensor " + in_quotes(entry.name), problem);
  }
  void check_coverage(std::uint64_t data_bytes) {
    std::sort(entries_.begin(), entries_.end(), [](const tensor_entry& a, const tensor_entry& b) {
      if (a.begin != b.begin) return a.begin < b.begin;
      if (a.end != b.end) return a.end < b.end;
      return a.name < b.name;
    });
    for (std::size_t i = 0; i < by_name_.size(); ++i) by_name_[i] = static_cast<std::uint32_t>(i);
    std::sort(by_name_.begin(), by_name_.end(),
              [&](std::uint32_t a, std::uint32_t b) { return entries_[a].name < entries_[b].name; });
    for (std::size_t i = 1; i < by_name_.size(); ++i)
      if (entries_[by_name_[i - 1]].name == entries_[by_name_[i]].name)
        refuse(entries_[by_name_[i]], "is there twice; keep one of them");
    std::uint64_t at = 0;
    for (const tensor_entry& entry : entries_) {
      if (entry.begin < at) refuse(entry, "overlaps the tensor before it; write the file again");
      if (entry.begin > at)
        refuse(entry, "leaves a hole of " + std::to_string(entry.begin - at) + " bytes before it; write the file again");
      at = entry.end;
    }
    if (at > data_bytes)
      throw input_error(path(), "data",
                        "are cut off: the tensors need " + std::to_string(at) + " bytes, the file has " +
                            std::to_string(data_bytes) + "; copy it again");
    if (at < data_bytes)
      throw input_error(
          path(), "data",
          "are followed by " + std::to_string(data_bytes - at) + " bytes that belong to no tensor; write the file again");
  }

  input_file file_;
  std::uint64_t data_ = 0;
  std::vector<tensor_entry> entries_;
  std::vector<std::uint32_t> by_name_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::string> warnings_;
  mutable std::atomic<std::uint64_t> bytes_read_{0};
};

}  // namespace plait::inline v0_1::io
