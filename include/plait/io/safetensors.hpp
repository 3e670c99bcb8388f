#pragma once
// safetensors: 8 bytes little-endian header length, a JSON header, data. The reader enforces every rule of the format
// and is stricter where the format is lax: no name twice, at most 1,000,000 tensors, names of at most 4,096 bytes; a
// tensor of more than 8 dimensions may be in the file but cannot be read. The writer is deterministic.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/io/error.hpp"
#include "plait/io/file.hpp"
#include "plait/io/json.hpp"
#include "plait/runtime/view.hpp"

namespace plait::inline v0_1::io {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian, and read as they are");

/// The element types of the format, in the order in which writers sort tensors (the last ones come first in a file).
enum class element : std::uint8_t {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64
};

struct element_facts {
  const char* name;
  unsigned bits;
};

inline constexpr element_facts element_table[] = {
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}};

constexpr const char* name_of(element type) { return element_table[static_cast<std::size_t>(type)].name; }
constexpr unsigned bits_of(element type) { return element_table[static_cast<std::size_t>(type)].bits; }

inline std::optional<element> element_named(std::string_view name) {
  for (std::size_t i = 0; i < std::size(element_table); ++i)
    if (name == element_table[i].name) return static_cast<element>(i);
  return std::nullopt;
}

/// The library's type for an element type, where it has one.
constexpr std::optional<dtype> dtype_of(element type) {
  switch (type) {
    case element::f32:
      return dtype::f32;
    case element::f64:
      return dtype::f64;
    case element::bf16:
      return dtype::bf16;
    case element::i32:
      return dtype::i32;
    case element::i64:
      return dtype::i64;
    case element::u8:
      return dtype::u8;
    default:
      return std::nullopt;
  }
}
constexpr element element_of(dtype type) {
  switch (type) {
    case dtype::f32:
      return element::f32;
    case dtype::f64:
      return element::f64;
    case dtype::bf16:
      return element::bf16;
    case dtype::i32:
      return element::i32;
    case dtype::i64:
      return element::i64;
    case dtype::u8:
      return element::u8;
  }
  return element::u8;
}

inline constexpr std::uint64_t max_header_bytes = 100'000'000;
inline constexpr std::size_t max_tensors = 1'000'000;
inline constexpr std::size_t max_name_bytes = 4096;
inline constexpr std::size_t max_loaded_rank = 8;
inline constexpr std::size_t max_metadata_entries = 100'000;

/// One tensor of a file: offsets are counted from the start of the data.
struct tensor_entry {
  std::string name;
  element type = element::u8;
  bool loadable = true;  ///< false: more than 8 dimensions, or one that 63 bits cannot hold
  std::uint64_t rank = 0;
  std::array<std::int64_t, max_loaded_rank> extent{};
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  /// The dimensions (the first 8 of a tensor that cannot be loaded).
  std::span<const std::int64_t> shape() const {
    return {extent.data(), static_cast<std::size_t>(std::min<std::uint64_t>(rank, max_loaded_rank))};
  }
  std::uint64_t bytes() const { return end - begin; }
};

inline std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text += "]";
}

namespace detail {

inline bool checked_multiply(std::uint64_t a, std::uint64_t b, std::uint64_t& out) { return !__builtin_mul_overflow(a, b, &out); }

/// Turns the events of a header into entries. Nothing is kept but what an entry needs.
class header_reader final : public json_events {
 public:
  header_reader(std::string_view file, std::vector<tensor_entry>& entries, std::map<std::string, std::string>& metadata,
                std::vector<std::string>& warnings)
      : file_(file), entries_(entries), metadata_(metadata), warnings_(warnings) {}

  void null() override { scalar("null"); }
  void boolean(bool) override { scalar("true or false"); }
  void negative(std::int64_t) override { scalar("a negative number"); }
  void real(double) override { scalar("a number with a fraction or above 64 bits"); }
  void natural(std::uint64_t value) override {
    if (skipping()) return after_skipped();
    if (where_ == place::shape) return add_dimension(value);
    if (where_ == place::offsets) {
      if (offsets_ == 2) fail("data_offsets has more than two numbers");
      (offsets_ == 0 ? entry_.begin : entry_.end) = value;
      ++offsets_;
      return;
    }
    scalar("a number");
  }
  void string(std::string& value) override {
    if (skipping()) return after_skipped();
    if (where_ == place::metadata) {
      if (!metadata_.emplace(std::move(metadata_key_), std::move(value)).second)
        throw input_error(file_, "__metadata__", "has the same name twice; keep one of them");
      return;
    }
    if (where_ == place::dtype) {
      const auto type = element_named(value);
      if (!type) fail("dtype " + in_quotes(value, 40) + " is unknown");
      entry_.type = *type;
      where_ = place::entry;
      return;
    }
    scalar("a text");
  }
  void begin_object() override {
    if (skipping()) return enter_skipped(true);
    switch (where_) {
      case place::before:
        where_ = place::top;
        return;
      case place::metadata_value:
        where_ = place::metadata;
        return;
      case place::entry_value:
        where_ = place::entry;
        return;
      default:
        scalar("an object");
    }
  }
  void begin_array() override {
    if (skipping()) return enter_skipped(false);
    if (where_ == place::shape_value) {
      where_ = place::shape;
    } else if (where_ == place::offsets_value) {
      where_ = place::offsets;
    } else {
      scalar("a list");
    }
  }
  void key(std::string& name) override {
    if (skipping()) {
      if (++skipped_names_ > 10'000) fail("an extra field holds more than 10000 names");
      skipped_.back().push_back(std::move(name));
      return;
    }
    if (where_ == place::top) {
      if (name == "__metadata__") {
        if (seen_metadata_) throw input_error(file_, "__metadata__", "is there twice; keep one of them");
        seen_metadata_ = true;
        where_ = place::metadata_value;
        return;
      }
      if (entries_.size() == max_tensors)
        throw input_error(file_, "header", "has more than " + std::to_string(max_tensors) + " tensors; split the file");
      if (name.size() > max_name_bytes)
        throw input_error(file_, "tensor " + in_quotes(name, 60),
                          "has a name of " + std::to_string(name.size()) + " bytes; at most " + std::to_string(max_name_bytes) +
                              " are accepted");
      entry_ = {};
      entry_.name = std::move(name);
      elements_ = 1;
      overflow_ = false;
      seen_ = 0;
      offsets_ = 0;
      extra_.clear();
      where_ = place::entry_value;
      return;
    }
    if (where_ == place::metadata) {
      if (metadata_.size() == max_metadata_entries)
        throw input_error(file_, "__metadata__", "has more than " + std::to_string(max_metadata_entries) + " entries");
      metadata_key_ = std::move(name);
      return;
    }
    // a field of an entry
    const unsigned bit = name == "dtype" ? 1u : name == "shape" ? 2u : name == "data_offsets" ? 4u : 0u;
    if (bit == 0) {
      if (std::find(extra_.begin(), extra_.end(), name) != extra_.end()) fail("field " + in_quotes(name, 40) + " is there twice");
      if (extra_.size() == 64) fail("has more than 64 extra fields");
      if (warnings_.size() < 16)
        warnings_.push_back("tensor " + in_quotes(entry_.name) + " has an unknown field " + in_quotes(name, 40) + ", ignored");
      extra_.push_back(std::move(name));
      skip_next_ = true;
      skipped_names_ = 0;
      return;
    }
    if (seen_ & bit) fail("field " + in_quotes(name) + " is there twice");
    seen_ |= bit;
    where_ = bit == 1 ? place::dtype : bit == 2 ? place::shape_value : place::offsets_value;
  }
  void end_object() override {
    if (!skipped_.empty() || skip_next_) return leave_skipped();
    if (where_ == place::metadata) {
      where_ = place::top;
    } else if (where_ == place::entry) {
      finish_entry();
      where_ = place::top;
    } else {
      where_ = place::after;
    }
  }
  void end_array() override {
    if (!skipped_.empty() || skip_next_) return leave_skipped();
    where_ = place::entry;
  }

 private:
  enum class place {
    before,
    top,
    metadata_value,
    metadata,
    entry_value,
    entry,
    dtype,
    shape_value,
    shape,
    offsets_value,
    offsets,
    after
  };

  bool skipping() const { return skip_next_ || !skipped_.empty(); }
  void enter_skipped(bool) {
    skip_next_ = false;
    skipped_.emplace_back();
  }
  void after_skipped() {
    if (skipped_.empty()) skip_next_ = false;
  }
  void leave_skipped() {
    auto& names = skipped_.back();
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) fail("an extra field has the name " + in_quotes(*twice, 40) + " twice");
    skipped_.pop_back();
  }
  [[noreturn]] void fail(const std::string& problem) const {
    throw input_error(file_, "tensor " + in_quotes(entry_.name), problem + "; write the file again");
  }
  /// A value where another kind belongs.
  void scalar(const char* kind) {
    if (skipping()) return after_skipped();
    switch (where_) {
      case place::before:
        throw input_error(file_, "header", std::string("is ") + kind + ", not an object");
      case place::metadata_value:
        throw input_error(file_, "__metadata__", std::string("is ") + kind + ", not an object of texts");
      case place::metadata:
        throw input_error(file_, "__metadata__", "field " + in_quotes(metadata_key_, 60) + " is " + kind + ", not a text");
      case place::entry_value:
        fail(std::string("is ") + kind + ", not an object");
      case place::dtype:
        fail(std::string("dtype is ") + kind + ", not a text");
      case place::shape_value:
        fail(std::string("shape is ") + kind + ", not a list");
      case place::shape:
        fail(std::string("shape holds ") + kind + ", where only whole numbers from 0 on belong");
      case place::offsets_value:
        fail(std::string("data_offsets is ") + kind + ", not a list");
      case place::offsets:
        fail(std::string("data_offsets holds ") + kind + ", where only whole numbers from 0 on belong");
      default:
        throw input_error(file_, "header", std::string("holds ") + kind + " in a wrong place");
    }
  }
  void add_dimension(std::uint64_t value) {
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (entry_.rank < max_loaded_rank) {
      entry_.extent[static_cast<std::size_t>(entry_.rank)] = static_cast<std::int64_t>(std::min(value, most));
    } else {
      entry_.loadable = false;
    }
    if (value > most) entry_.loadable = false;
    ++entry_.rank;
    if (!checked_multiply(elements_, value, elements_)) overflow_ = true;
  }
  void finish_entry() {
    if (!(seen_ & 1u)) fail("has no dtype");
    if (!(seen_ & 2u)) fail("has no shape");
    if (!(seen_ & 4u)) fail("has no data_offsets");
    if (offsets_ != 2) fail("data_offsets needs two numbers");
    if (entry_.end < entry_.begin) fail("data_offsets run backwards");
    std::uint64_t bits = 0;
    if (overflow_ || !checked_multiply(elements_, bits_of(entry_.type), bits)) fail("shape is too large for 64 bits");
    if (bits % 8 != 0) fail("shape and dtype make no whole number of bytes");
    if (bits / 8 != entry_.end - entry_.begin)
      fail("shape and dtype need " + std::to_string(bits / 8) + " bytes, data_offsets give " +
           std::to_string(entry_.end - entry_.begin));
    entries_.push_back(std::move(entry_));
  }

  std::string_view file_;
  std::vector<tensor_entry>& entries_;
  std::map<std::string, std::string>& metadata_;
  std::vector<std::string>& warnings_;
  place where_ = place::before;
  bool seen_metadata_ = false;
  std::string metadata_key_;
  tensor_entry entry_;
  std::uint64_t elements_ = 1;
  bool overflow_ = false;
  unsigned seen_ = 0;
  int offsets_ = 0;
  std::vector<std::string> extra_;
  bool skip_next_ = false;
  std::vector<std::vector<std::string>> skipped_;
  std::size_t skipped_names_ = 0;
};

}  // namespace detail

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

/// What a tensor to be written is called and looks like.
struct tensor_header {
  std::string name;
  element type = element::f32;
  std::vector<std::int64_t> shape;

  std::uint64_t bytes() const {
    std::uint64_t n = 1;
    for (const std::int64_t extent : shape)
      if (extent < 0 || !detail::checked_multiply(n, static_cast<std::uint64_t>(extent), n))
        throw std::invalid_argument("write_safetensors: the shape of " + in_quotes(name) + " is not possible");
    std::uint64_t bits = 0;
    if (!detail::checked_multiply(n, bits_of(type), bits) || bits % 8 != 0)
      throw std::invalid_argument("write_safetensors: the shape of " + in_quotes(name) + " makes no whole number of bytes");
    return bits / 8;
  }
};

struct tensor_to_write {
  std::string name;
  element type = element::f32;
  std::vector<std::int64_t> shape;
  const void* data = nullptr;
};

/// Takes the next bytes of the tensor that is being written.
using tensor_sink = std::function<void(const void* data, std::size_t bytes)>;
/// Called once a tensor, in the order of the file; `index` is the tensor's place in the list given to the writer. It
/// must hand exactly the tensor's bytes to `sink`, in as many pieces as it likes.
using tensor_source = std::function<void(const tensor_header& tensor, std::size_t index, const tensor_sink& sink)>;

/// The order in which tensors lie in a file: by element type (largest alignment first), then by name.
inline std::vector<std::size_t> file_order(const std::vector<tensor_header>& tensors) {
  std::vector<std::size_t> order(tensors.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (tensors[a].type != tensors[b].type) return tensors[a].type > tensors[b].type;
    return tensors[a].name < tensors[b].name;
  });
  return order;
}

/// The 8 length bytes and the header, padded with spaces so that the data begin at a multiple of 8.
inline std::string safetensors_header(const std::vector<tensor_header>& tensors, const std::vector<std::size_t>& order,
                                      const std::map<std::string, std::string>& metadata) {
  if (tensors.size() > max_tensors) throw std::invalid_argument("write_safetensors: more than 1,000,000 tensors");
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    bool first = true;
    for (const auto& [key, value] : metadata) {
      if (!is_utf8(key) || !is_utf8(value)) throw std::invalid_argument("write_safetensors: metadata are not UTF-8");
      if (!std::exchange(first, false)) text += ',';
      append_json_string(text, key);
      text += ':';
      append_json_string(text, value);
    }
    text += '}';
  }
  std::uint64_t at = 0;
  std::vector<std::string_view> names;
  for (const tensor_header& tensor : tensors) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
    throw std::invalid_argument("write_safetensors: the name " + in_quotes(*twice) + " is used twice");
  for (const std::size_t i : order) {
    const tensor_header& tensor = tensors[i];
    if (tensor.name == "__metadata__" || tensor.name.size() > max_name_bytes || !is_utf8(tensor.name))
      throw std::invalid_argument("write_safetensors: " + in_quotes(tensor.name) + " cannot be a tensor's name");
    const std::uint64_t bytes = tensor.bytes();
    if (text.size() > 1) text += ',';
    append_json_string(text, tensor.name);
    text += ":{\"dtype\":\"";
    text += name_of(tensor.type);
    text += "\",\"shape\":[";
    for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
      if (d > 0) text += ',';
      text += std::to_string(tensor.shape[d]);
    }
    text += "],\"data_offsets\":[" + std::to_string(at);
    if (__builtin_add_overflow(at, bytes, &at)) throw std::invalid_argument("write_safetensors: too many bytes");
    text += "," + std::to_string(at) + "]}";
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > max_header_bytes) throw std::invalid_argument("write_safetensors: the header is above 100 MB");
  const std::uint64_t length = text.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out += text;
}

/// Writes a file whose data are pulled tensor by tensor; the file appears whole or not at all. Deterministic: the same
/// tensors and metadata give the same bytes.
inline void write_safetensors(const std::string& path, const std::vector<tensor_header>& tensors,
                              const std::map<std::string, std::string>& metadata, const tensor_source& source) {
  const std::vector<std::size_t> order = file_order(tensors);
  const std::string header = safetensors_header(tensors, order, metadata);
  output_file file(path);
  file.write(header);
  for (const std::size_t i : order) {
    std::uint64_t left = tensors[i].bytes();
    const tensor_sink sink = [&](const void* data, std::size_t bytes) {
      if (bytes > left) throw std::logic_error("write_safetensors: too many bytes for " + in_quotes(tensors[i].name));
      file.write(data, bytes);
      left -= bytes;
    };
    source(tensors[i], i, sink);
    if (left != 0) throw std::logic_error("write_safetensors: too few bytes for " + in_quotes(tensors[i].name));
  }
  file.commit();
}

/// Writes tensors that lie in memory.
inline void write_safetensors(const std::string& path, const std::vector<tensor_to_write>& tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  std::vector<tensor_header> headers;
  for (const tensor_to_write& tensor : tensors) headers.push_back({tensor.name, tensor.type, tensor.shape});
  write_safetensors(path, headers, metadata, [&](const tensor_header& header, std::size_t i, const tensor_sink& sink) {
    sink(tensors[i].data, static_cast<std::size_t>(header.bytes()));
  });
}

}  // namespace plait::inline v0_1::io
