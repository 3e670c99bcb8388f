#pragma once
// Tokens that are found in the text as they are, before it is split into words: end of text, the roles of a chat.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/io/unicode.hpp"

namespace plait::inline v0_1::io {

struct added_token {
  std::uint32_t id = 0;
  std::string content;
  bool left_strip = false;   ///< takes the white space before it
  bool right_strip = false;  ///< takes the white space after it
  bool normalized = false;   ///< is looked for in the normalised text
  bool special = false;
};

/// Finds the leftmost and there the longest of a set of texts.
class added_token_finder {
 public:
  /// A part of a text: words to be split, or one of the tokens.
  struct piece {
    std::string_view text;
    const added_token* token = nullptr;
  };
  added_token_finder() = default;
  explicit added_token_finder(std::vector<added_token> tokens) : tokens_(std::move(tokens)) {
    std::sort(tokens_.begin(), tokens_.end(), [](const added_token& a, const added_token& b) { return a.content < b.content; });
    for (const added_token& token : tokens_) starts_[static_cast<unsigned char>(token.content.front())] = true;
  }

  /// Calls `take(piece)` for every part of the text, in order; parts without text are left out.
  template <class Take>
  void split(std::string_view text, Take take) const {
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size();) {
      const added_token* token = longest_at(text, at);
      if (token == nullptr) {
        ++at;
        continue;
      }
      std::size_t from = at, to = at + token->content.size();
      at = to;
      // White space that the token before took away is not taken again, but a token that begins in it still counts.
      if (token->left_strip) from = std::max(start_of_white(text, from, std::min(done, from)), done);
      if (token->right_strip)
        while (to < text.size() && is_white(character_at(text, to).code)) to += character_at(text, to).length;
      if (done < from) take(piece{text.substr(done, from - done), nullptr});
      take(piece{{}, token});
      done = to;
    }
    if (done < text.size()) take(piece{text.substr(done), nullptr});
  }

 private:
  /// The longest token at `at`: the tokens that share the text so far are neighbours in sorted order.
  const added_token* longest_at(std::string_view text, std::size_t at) const {
    if (!starts_[static_cast<unsigned char>(text[at])]) return nullptr;
    const added_token* found = nullptr;
    auto from = tokens_.begin(), to = tokens_.end();
    for (std::size_t n = 0; from != to; ++n) {
      if (from->content.size() == n) {
        found = &*from;
        if (++from == to) break;
      }
      if (at + n >= text.size()) break;
      const auto byte = static_cast<unsigned char>(text[at + n]);
      const auto key = [n](const added_token& t) { return static_cast<unsigned char>(t.content[n]); };
      from = std::lower_bound(from, to, byte, [&](const added_token& t, unsigned char b) { return key(t) < b; });
      to = std::upper_bound(from, to, byte, [&](unsigned char b, const added_token& t) { return b < key(t); });
    }
    return found;
  }
  /// Where the white space that ends at `end` begins, not before `least`.
  static std::size_t start_of_white(std::string_view text, std::size_t end, std::size_t least) {
    while (end > least) {
      std::size_t start = end - 1;
      while (start > least && (static_cast<unsigned char>(text[start]) & 0xc0u) == 0x80u) --start;
      const character c = character_at(text, start);
      if (start + c.length != end || !is_white(c.code)) break;
      end = start;
    }
    return end;
  }
  std::vector<added_token> tokens_;
  std::array<bool, 256> starts_{};
};

}  // namespace plait::inline v0_1::io
