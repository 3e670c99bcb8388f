#pragma once
// What splitting text into words needs of Unicode: letters, numbers, white space, and normalisation form C. Bytes that are no
// UTF-8 count as one character each that is nothing of all that, and stay as they are.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "plait/io/error.hpp"
#include "plait/io/unicode_tables.hpp"

namespace plait::inline v0_1::io {

enum class character_class : std::uint8_t { other, letter, number, white };

/// One character of a text: its code point (0x110000 + byte where the text is no UTF-8) and how many bytes it takes (0: none
/// left).
struct character {
  std::uint32_t code = 0;
  std::uint32_t length = 0;
};

inline character character_at(std::string_view text, std::size_t at) {
  if (at >= text.size()) return {};
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) return {first, 1};
  character c;
  c.length = static_cast<std::uint32_t>(utf8_sequence(text.substr(at, 4), c.code));
  if (c.length == 0) c = {0x110000u + first, 1};
  return c;
}

/// White_Space of Unicode.
constexpr bool is_white(std::uint32_t code) {
  return code == 0x20 || (code >= 0x09 && code <= 0x0d) || code == 0x85 || code == 0xa0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
         code == 0x3000;
}

/// General category L*, N*, or white space.
inline character_class class_of(std::uint32_t code) {
  using enum character_class;
  if (is_white(code)) return white;
  if (code < 0x80) {
    if ((code | 0x20u) >= 'a' && (code | 0x20u) <= 'z') return letter;
    return code >= '0' && code <= '9' ? number : other;
  }
  const auto after = std::upper_bound(std::begin(detail::class_starts), std::end(detail::class_starts), code << 2 | 3u);
  return static_cast<character_class>(*(after - 1) & 3u);
}

inline void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0u | code >> 6), put(0x80u | (code & 0x3fu));
  } else if (code < 0x10000) {
    put(0xe0u | code >> 12), put(0x80u | (code >> 6 & 0x3fu)), put(0x80u | (code & 0x3fu));
  } else if (code < 0x110000) {
    put(0xf0u | code >> 18), put(0x80u | (code >> 12 & 0x3fu)), put(0x80u | (code >> 6 & 0x3fu)), put(0x80u | (code & 0x3fu));
  } else {
    put(code - 0x110000);  // a byte that was no UTF-8
  }
}

namespace detail {

inline constexpr std::uint32_t code_mask = 0x1fffff;
inline constexpr std::uint32_t hangul = 0xac00, hangul_l = 0x1100, hangul_v = 0x1161, hangul_t = 0x11a7, hangul_vt = 21 * 28;

struct normal_character {
  std::uint32_t code;
  std::uint32_t combining;  // its combining class
};

inline std::uint32_t combining_class(std::uint32_t code) {
  if (code < 0x300) return 0;
  const auto after = std::upper_bound(std::begin(combining_ranges), std::end(combining_ranges), code,
                                      [](std::uint32_t c, std::uint64_t range) { return c < (range & code_mask); });
  if (after == std::begin(combining_ranges) || code > (*(after - 1) >> 21 & code_mask)) return 0;
  return static_cast<std::uint32_t>(*(after - 1) >> 42);
}

inline void append_decomposed(std::vector<normal_character>& out, std::uint32_t code) {
  if (code < 0xc0) return out.push_back({code, 0});
  if (code >= hangul && code < hangul + 19 * hangul_vt) {
    const std::uint32_t s = code - hangul;
    out.push_back({hangul_l + s / hangul_vt, 0});
    out.push_back({hangul_v + s % hangul_vt / 28, 0});
    if (s % 28 != 0) out.push_back({hangul_t + s % 28, 0});
    return;
  }
  const auto entry = std::lower_bound(std::begin(decompositions), std::end(decompositions), code,
                                      [](std::uint64_t e, std::uint32_t c) { return (e & code_mask) < c; });
  if (entry == std::end(decompositions) || (*entry & code_mask) != code) return out.push_back({code, combining_class(code)});
  append_decomposed(out, *entry >> 21 & code_mask);
  if (const std::uint32_t second = *entry >> 42 & code_mask) append_decomposed(out, second);
}

/// The character that `first` and `second` make together, or 0.
inline std::uint32_t composed(std::uint32_t first, std::uint32_t second) {
  if (first >= hangul_l && first < hangul_l + 19 && second >= hangul_v && second < hangul_v + 21)
    return hangul + ((first - hangul_l) * 21 + second - hangul_v) * 28;
  if (first >= hangul && first < hangul + 19 * hangul_vt && (first - hangul) % 28 == 0 && second > hangul_t &&
      second < hangul_t + 28)
    return first + second - hangul_t;
  struct pair {
    std::uint64_t parts;
    std::uint32_t code;
  };
  static const std::vector<pair> pairs = [] {
    std::vector<pair> all;
    for (const std::uint64_t e : decompositions)
      if (e >> 63) all.push_back({e >> 21 & ((std::uint64_t{1} << 42) - 1), static_cast<std::uint32_t>(e & code_mask)});
    std::sort(all.begin(), all.end(), [](const pair& a, const pair& b) { return a.parts < b.parts; });
    return all;
  }();
  const std::uint64_t wanted = std::uint64_t{second} << 21 | first;
  const auto at =
      std::lower_bound(pairs.begin(), pairs.end(), wanted, [](const pair& p, std::uint64_t w) { return p.parts < w; });
  return at != pairs.end() && at->parts == wanted ? at->code : 0;
}

}  // namespace detail

/// Whether a glance shows that normalisation changes nothing: every character is below U+0300.
inline bool is_plainly_nfc(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0xcc; });
}

/// Normalisation form C.
inline std::string nfc(std::string_view text) {
  using detail::normal_character;
  std::vector<normal_character> characters;
  characters.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const character c = character_at(text, at);
    detail::append_decomposed(characters, c.code);
    at += c.length;
  }
  for (auto from = characters.begin(); from != characters.end();) {
    if (from->combining == 0) {
      ++from;
      continue;
    }
    const auto to = std::find_if(from, characters.end(), [](const normal_character& c) { return c.combining == 0; });
    std::stable_sort(from, to, [](const normal_character& a, const normal_character& b) { return a.combining < b.combining; });
    from = to;
  }
  // A mark joins the last starter unless something between them has its class or a higher one.
  constexpr auto none = static_cast<std::size_t>(-1);
  std::size_t starter = none, kept = 0;
  for (const normal_character c : characters) {
    if (starter != none && (starter + 1 == kept || characters[kept - 1].combining < c.combining)) {
      if (const std::uint32_t both = detail::composed(characters[starter].code, c.code)) {
        characters[starter].code = both;
        continue;
      }
    }
    if (c.combining == 0) starter = kept;
    characters[kept++] = c;
  }
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < kept; ++i) append_utf8(out, characters[i].code);
  return out;
}

}  // namespace plait::inline v0_1::io
