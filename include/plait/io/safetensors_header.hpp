#pragma once
// The JSON header of a safetensors file: every rule of the format is enforced, and more where the format is lax: no name twice, at most
// 1,000,000 tensors, names of at most 4,096 bytes; a tensor of more than 8 dimensions may be in the file but cannot be read.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/io/element.hpp"
#include "plait/io/error.hpp"
#include "plait/io/json.hpp"

namespace plait::inline v0_1::io {

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

}  // namespace plait::inline v0_1::io
