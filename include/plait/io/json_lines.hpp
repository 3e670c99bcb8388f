#pragma once
// JSON Lines: one object a line. Doubles are written in the shortest form that reads back to the same bits; NaN and
// infinity, which JSON lacks, become null. Fields keep the order in which they were added.
#include <cerrno>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include "plait/io/error.hpp"
#include "plait/io/json.hpp"

namespace plait::inline v0_1::io {

inline void append_json_number(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
  out.append(buffer, end.ptr);
}

template <std::integral Number>
void append_json_number(std::string& out, Number value) {
  char buffer[24];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
  out.append(buffer, end.ptr);
}

/// One JSON object, built field by field: json_line().add("step", 3).add("loss", 4.5).text().
class json_line {
 public:
  template <class Value>
  json_line& add(std::string_view key, const Value& value) {
    start(key);
    append(value);
    return *this;
  }
  /// Text that is JSON already.
  json_line& add_raw(std::string_view key, std::string_view json) {
    start(key);
    text_ += json;
    return *this;
  }
  /// The object, without a line end.
  std::string text() const { return text_ + '}'; }

 private:
  void start(std::string_view key) {
    if (text_.size() > 1) text_ += ',';
    append_json_string(text_, key);
    text_ += ':';
  }
  template <class Value>
  void append(const Value& value) {
    if constexpr (std::is_same_v<Value, bool>) {
      text_ += value ? "true" : "false";
    } else if constexpr (std::is_same_v<Value, json_line>) {
      text_ += value.text();
    } else if constexpr (std::is_floating_point_v<Value>) {
      append_json_number(text_, static_cast<double>(value));
    } else if constexpr (std::is_integral_v<Value>) {
      append_json_number(text_, value);
    } else if constexpr (std::is_same_v<Value, std::nullptr_t>) {
      text_ += "null";
    } else if constexpr (std::is_convertible_v<const Value&, std::string_view>) {
      append_json_string(text_, value);
    } else {
      text_ += '[';
      bool first = true;
      for (const auto& item : value) {
        if (!std::exchange(first, false)) text_ += ',';
        append(item);
      }
      text_ += ']';
    }
  }
  std::string text_ = "{";
};

/// A file of such lines, each one flushed: what is in the file is always whole lines up to a crash.
class json_lines_file {
 public:
  explicit json_lines_file(std::string path) : path_(std::move(path)), file_(std::fopen(path_.c_str(), "we")) {
    if (!file_) fail("creating the file");
  }
  json_lines_file(const json_lines_file&) = delete;
  json_lines_file& operator=(const json_lines_file&) = delete;
  ~json_lines_file() {
    if (file_) std::fclose(file_);
  }
  void write(const json_line& line) {
    const std::string text = line.text() + '\n';
    if (std::fwrite(text.data(), 1, text.size(), file_) != text.size() || std::fflush(file_) != 0) fail("writing");
  }

 private:
  [[noreturn]] void fail(std::string_view what) const { throw output_error(path_, what, std::generic_category().message(errno)); }
  std::string path_;
  std::FILE* file_;
};

}  // namespace plait::inline v0_1::io
