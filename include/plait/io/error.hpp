#pragma once
// Errors of everything that reads or writes files. Bad input is `input_error`: one line that names the file, the
// field and the fix. Whatever comes out of a file is printed through `printable`, never raw.
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace plait::inline v0_1::io {

/// The length of the well-formed UTF-8 sequence that starts `text`, or 0; the code point goes to `code`.
inline std::size_t utf8_sequence(std::string_view text, std::uint32_t& code) {
  if (text.empty()) return 0;
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t first = byte(0);
  if (first < 0x80) {
    code = first;
    return 1;
  }
  std::size_t length = 0;
  std::uint32_t least = 0;
  if ((first & 0xe0u) == 0xc0u) {
    length = 2, least = 0x80, code = first & 0x1fu;
  } else if ((first & 0xf0u) == 0xe0u) {
    length = 3, least = 0x800, code = first & 0x0fu;
  } else if ((first & 0xf8u) == 0xf0u) {
    length = 4, least = 0x10000, code = first & 0x07u;
  } else {
    return 0;
  }
  if (text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0u) != 0x80u) return 0;
    code = (code << 6) | (byte(i) & 0x3fu);
  }
  if (code < least || code > 0x10ffffu || (code >= 0xd800u && code <= 0xdfffu)) return 0;
  return length;
}

inline bool is_utf8(std::string_view text) {
  std::uint32_t code = 0;
  while (!text.empty()) {
    const std::size_t length = utf8_sequence(text, code);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

/// `text` as it may be shown on a terminal: control bytes, broken UTF-8 and invisible or direction-changing
/// characters are written as \xNN, and at most about `limit` bytes are shown.
inline std::string printable(std::string_view text, std::size_t limit = 160) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  std::size_t i = 0;
  while (i < text.size()) {
    if (out.size() >= limit) {
      out += "...";
      break;
    }
    std::uint32_t code = 0;
    std::size_t length = utf8_sequence(text.substr(i), code);
    const bool hidden = length == 0 || code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xad || code == 0x61c ||
                        (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
                        (code >= 0x2060 && code <= 0x206f) || code == 0xfeff || code >= 0xe0000 || code == '\\';
    if (length == 0) length = 1;
    for (std::size_t k = 0; k < length; ++k) {
      const char c = text[i + k];
      if (code == '\\' && length == 1 && c == '\\') {
        out += "\\\\";
      } else if (hidden) {
        out += "\\x";
        out += digits[(static_cast<unsigned char>(c) >> 4) & 15u];
        out += digits[static_cast<unsigned char>(c) & 15u];
      } else {
        out += c;
      }
    }
    i += length;
  }
  return out;
}

/// `printable`, between double quotes.
inline std::string in_quotes(std::string_view text, std::size_t limit = 160) { return '"' + printable(text, limit) + '"'; }

/// Bad input: a file (or what it says) cannot be used. One line: "FILE: FIELD: PROBLEM". The trainer ends with exit
/// code 2 on it. `field` and `problem` are our own words; parts taken from a file must be `in_quotes` by the caller.
struct input_error : std::runtime_error {
  input_error(std::string_view file, std::string_view field, std::string_view problem)
      : std::runtime_error(line(file, field, problem)) {}
  explicit input_error(std::string_view problem) : std::runtime_error(printable_line(problem)) {}

 private:
  static std::string line(std::string_view file, std::string_view field, std::string_view problem) {
    std::string text = printable(file, 400) + ": ";
    if (!field.empty()) (text += field) += ": ";
    return printable_line(text += problem);
  }
  static std::string printable_line(std::string_view text) {
    std::string out;
    for (const char c : text) {
      const auto u = static_cast<unsigned char>(c);
      out += u < 0x20 || u == 0x7f ? ' ' : c;  // a last guard: whoever forgot to quote still gets one clean line
    }
    return out;
  }
};

/// A file could not be written (disk full, no permission): a run-time error, exit code 1.
struct output_error : std::runtime_error {
  output_error(std::string_view file, std::string_view what, std::string_view reason)
      : std::runtime_error(printable(file, 400) + ": " + std::string(what) + " failed: " + printable(reason)) {}
};

}  // namespace plait::inline v0_1::io
