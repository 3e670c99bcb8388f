#pragma once
// Where the split patterns of GPT-2, Llama 3 and Qwen 2 end a word. They are regular expressions with \p{L} and \p{N}, which
// std::regex does not know; here they are written out by hand. Every character of a text belongs to some word.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "plait/io/unicode.hpp"

namespace plait::inline v0_1::io {

enum class split_pattern : std::uint8_t { none, gpt2, llama3, qwen2 };

/// The regular expression of each pattern as it stands in a tokenizer.json.
constexpr std::string_view regex_of(split_pattern pattern) {
  switch (pattern) {
    case split_pattern::gpt2:
      return R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
    case split_pattern::llama3:
      return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    case split_pattern::qwen2:
      return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    case split_pattern::none:
      break;
  }
  return "";
}

inline std::optional<split_pattern> pattern_of_regex(std::string_view regex) {
  for (const split_pattern pattern : {split_pattern::gpt2, split_pattern::llama3, split_pattern::qwen2})
    if (regex == regex_of(pattern)) return pattern;
  return std::nullopt;
}

namespace detail {

/// A place in a text and the character there.
struct cursor {
  std::string_view text;
  std::size_t at = 0;
  character here{};
  character_class kind = character_class::other;

  cursor(std::string_view t, std::size_t a) : text(t), at(a) { look(); }
  bool end() const { return here.length == 0; }
  bool is(character_class k) const { return !end() && kind == k; }
  void next() {
    at += here.length;
    look();
  }
  /// Passes over characters of one class, `most` at most.
  cursor& skip(character_class k, std::size_t most = static_cast<std::size_t>(-1)) {
    for (; most > 0 && is(k); --most) next();
    return *this;
  }
  void look() {
    here = character_at(text, at);
    kind = class_of(here.code);
  }
};

constexpr bool is_newline(std::uint32_t code) { return code == '\r' || code == '\n'; }

/// The length of 's 't 're 've 'm 'll 'd at `at`, or 0. Regardless of case also U+017F, which folds to s.
inline std::size_t contraction(std::string_view text, std::size_t at, bool any_case) {
  if (text[at] != '\'' || at + 1 >= text.size()) return 0;
  const auto letter = [&](std::size_t i) {
    const char c = i < text.size() ? text[i] : '\0';
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = letter(at + 1), second = letter(at + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((second == 'e' && (first == 'r' || first == 'v')) || (first == 'l' && second == 'l')) return 3;
  return any_case && text.substr(at + 1, 2) == "\xc5\xbf" ? 3 : 0;
}

/// \s+(?!\S)|\s+ : white space up to the end, or all but its last character, which goes to the next word.
inline std::size_t end_of_white(std::string_view text, std::size_t at) {
  cursor c(text, at);
  std::size_t last = at;
  while (c.is(character_class::white)) {
    last = c.at;
    c.next();
  }
  return c.end() || last == at ? c.at : last;
}

inline std::size_t gpt2_word_end(std::string_view text, std::size_t at) {
  if (const std::size_t length = contraction(text, at, false)) return at + length;
  cursor c(text, at);
  if (c.here.code == ' ') c.next();
  if (c.end() || c.kind == character_class::white) return end_of_white(text, at);
  return c.skip(c.kind).at;
}

inline std::size_t llama3_word_end(std::string_view text, std::size_t at, std::size_t digits) {
  using enum character_class;
  if (const std::size_t length = contraction(text, at, true)) return at + length;
  cursor c(text, at);
  if (c.kind == letter) return c.skip(letter).at;
  if (c.kind == number) return c.skip(number, digits).at;
  cursor after = c;
  after.next();
  if (!is_newline(c.here.code) && after.is(letter)) return after.skip(letter).at;  // one leading character of any other kind
  if (c.here.code == ' ' && after.is(other)) c = after;
  if (c.kind == other) {
    c.skip(other);
    while (!c.end() && is_newline(c.here.code)) c.next();
    return c.at;
  }
  std::size_t newline = at;  // behind the last line end of this white space
  for (; c.is(white);) {
    const bool ends_line = is_newline(c.here.code);
    c.next();
    if (ends_line) newline = c.at;
  }
  return newline > at ? newline : end_of_white(text, at);
}

}  // namespace detail

/// Where the word that starts at `at` (below text.size()) ends; always behind `at`.
inline std::size_t word_end(split_pattern pattern, std::string_view text, std::size_t at) {
  switch (pattern) {
    case split_pattern::gpt2:
      return detail::gpt2_word_end(text, at);
    case split_pattern::llama3:
      return detail::llama3_word_end(text, at, 3);
    case split_pattern::qwen2:
      return detail::llama3_word_end(text, at, 1);
    case split_pattern::none:
      break;
  }
  return text.size();
}

}  // namespace plait::inline v0_1::io
