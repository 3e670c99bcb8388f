#pragma once
// Names and patterns: segments between dots, an all-digit segment being a layer number and `*` any one layer number.
// Each string is hashed once; a hash only nominates, segments decide.
#include <cstdint>
#include <string_view>

namespace plait::inline v0_1 {

namespace detail {
constexpr bool digit(char c) { return c >= '0' && c <= '9'; }
}  // namespace detail

struct pattern {
  const char* text = nullptr;
  int length = 0;
  std::uint64_t hash = 0;        // of the canonical name: layer numbers and * alike
  std::uint64_t owner_hash = 0;  // of the name one level up
  int number = -1;               // the layer number named, -1 for none or *
  int numbers = 0;               // segments that are a number or *; more than one cannot be told apart

  constexpr std::string_view view() const { return {text, static_cast<std::size_t>(length)}; }
};

/// One pass over the name.
constexpr pattern read_pattern(const char* text, int length) {
  pattern p{text, length};
  std::uint64_t hash = 1469598103934665603ull;
  int i = 0;
  while (i <= length) {
    int end = i;
    bool digits = true;
    while (end < length && text[end] != '.') {
      digits = digits && detail::digit(text[end]);
      ++end;
    }
    if (i > 0) {
      p.owner_hash = hash;
      hash = (hash ^ static_cast<std::uint64_t>('.')) * 1099511628211ull;
    }
    if (digits && end > i) {
      int n = 0;
      for (int c = i; c < end && n < 100'000'000; ++c) n = n * 10 + (text[c] - '0');  // beyond is no layer of any model
      p.number = n;
      ++p.numbers;
      hash = (hash ^ static_cast<std::uint64_t>('*')) * 1099511628211ull;
    } else {
      p.numbers += end - i == 1 && text[i] == '*';
      for (int c = i; c < end; ++c) hash = (hash ^ static_cast<std::uint64_t>(text[c])) * 1099511628211ull;
    }
    i = end + 1;
  }
  p.hash = hash;
  return p;
}
constexpr pattern read_pattern(std::string_view name) { return read_pattern(name.data(), static_cast<int>(name.size())); }

namespace detail {
/// Same segments, numbers and * alike; `name` may be longer by `extra` trailing segments.
constexpr bool same_segments(const pattern& rule, const pattern& name, int extra) {
  int i = 0, j = 0;
  while (true) {
    int ie = i, je = j;
    bool id = true, jd = true;
    while (ie < rule.length && rule.text[ie] != '.') id = id && (digit(rule.text[ie]) || rule.text[ie] == '*'), ++ie;
    while (je < name.length && name.text[je] != '.') jd = jd && (digit(name.text[je]) || name.text[je] == '*'), ++je;
    if (!(id && jd)) {
      if (ie - i != je - j) return false;
      for (int c = 0; c < ie - i; ++c)
        if (rule.text[i + c] != name.text[j + c]) return false;
    }
    const bool rule_ends = ie >= rule.length, name_ends = je >= name.length;
    i = ie + 1;
    j = je + 1;
    if (rule_ends || name_ends) {
      if (!rule_ends) return false;
      if (name_ends) return extra == 0;
      int rest = 1;
      for (int c = j; c < name.length; ++c) rest += name.text[c] == '.';
      return rest == extra;
    }
  }
}
}  // namespace detail

/// How well `rule` fits `name` at layer `number` (-1: any layer without a rule of its own). 0 = not at all; then, rising: owning
/// module by *, owning module by number, the name itself by *, the name itself by number. The name itself always beats its
/// module, whatever numbers they state.
constexpr int specificity(const pattern& rule, const pattern& name, int number) {
  if (rule.number >= 0 && rule.number != number) return 0;
  const int by_number = rule.number >= 0 ? 1 : 0;
  if (rule.hash == name.hash && detail::same_segments(rule, name, 0)) return 3 + by_number;
  if (rule.hash == name.owner_hash && detail::same_segments(rule, name, 1)) return 1 + by_number;
  return 0;
}

}  // namespace plait::inline v0_1
