#pragma once
// Byte-level byte-pair encoding: the table of merges and the merging of one word, and the alphabet in which tokenizer.json
// writes bytes as visible characters.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plait/io/error.hpp"
#include "plait/io/unicode.hpp"

namespace plait::inline v0_1::io {

/// The character that stands for a byte: itself if it is visible in Latin-1, otherwise the next one from U+0100 on.
constexpr std::array<std::uint32_t, 256> byte_alphabet() {
  std::array<std::uint32_t, 256> alphabet{};
  std::uint32_t next = 0x100;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    const bool visible = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    alphabet[byte] = visible ? byte : next++;
  }
  return alphabet;
}

/// The bytes that a token's text stands for, or nothing when it holds a character outside the alphabet.
inline std::optional<std::string> bytes_of_token(std::string_view token) {
  static constexpr auto back = [] {
    std::array<std::int16_t, 0x144> table{};
    table.fill(-1);
    const auto alphabet = byte_alphabet();
    for (std::size_t byte = 0; byte < 256; ++byte) table[alphabet[byte]] = static_cast<std::int16_t>(byte);
    return table;
  }();
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const character c = character_at(token, at);
    if (c.code >= back.size() || back[c.code] < 0) return std::nullopt;
    bytes += static_cast<char>(static_cast<unsigned char>(back[c.code]));
    at += c.length;
  }
  return bytes;
}

/// Bytes as a token's text.
inline std::string token_of_bytes(std::string_view bytes) {
  static constexpr auto alphabet = byte_alphabet();
  std::string token;
  for (const char byte : bytes) append_utf8(token, alphabet[static_cast<unsigned char>(byte)]);
  return token;
}

/// Which two neighbours merge into which token, and how early: lower ranks first. Rows by the left token, sorted by the right
/// one.
class merge_table {
 public:
  struct merge {
    std::uint32_t left, right, rank, result;
  };
  merge_table() = default;
  /// `tokens`: one more than the largest id. Two merges of the same pair: `twice` gives the rank of the later one.
  merge_table(std::vector<merge> merges, std::size_t tokens) : row_(tokens + 1), merges_(std::move(merges)) {
    std::sort(merges_.begin(), merges_.end(), [](const merge& a, const merge& b) {
      return a.left != b.left ? a.left < b.left : a.right != b.right ? a.right < b.right : a.rank < b.rank;
    });
    for (const merge& m : merges_) ++row_[m.left + 1];
    for (std::size_t i = 1; i < row_.size(); ++i) row_[i] += row_[i - 1];
  }
  std::optional<std::uint32_t> twice() const {
    const auto at = std::adjacent_find(merges_.begin(), merges_.end(),
                                       [](const merge& a, const merge& b) { return a.left == b.left && a.right == b.right; });
    return at == merges_.end() ? std::nullopt : std::optional((at + 1)->rank);
  }
  /// The merge of two tokens (both below `tokens`), or null pointer.
  const merge* find(std::uint32_t left, std::uint32_t right) const {
    const auto from = merges_.begin() + row_[left], to = merges_.begin() + row_[left + 1];
    const auto at = std::lower_bound(from, to, right, [](const merge& m, std::uint32_t r) { return m.right < r; });
    return at != to && at->right == right ? &*at : nullptr;
  }

 private:
  std::vector<std::uint32_t> row_;
  std::vector<merge> merges_;
};

/// Merges one word, n log n in its length. Keeps its memory between words; one object per thread.
class word_merger {
 public:
  explicit word_merger(const merge_table& table) : table_(&table) {}
  /// `ids`: one token a byte; afterwards the merged tokens. Of the merges with the lowest rank the leftmost comes first.
  void merge(std::vector<std::uint32_t>& ids) {
    const auto count = static_cast<std::uint32_t>(ids.size());
    next_.resize(count);
    previous_.resize(count);
    queue_.clear();
    for (std::uint32_t i = 0; i < count; ++i) {
      next_[i] = i + 1;
      previous_[i] = i - 1;
      if (i + 1 < count) offer(ids, i, i + 1, false);
    }
    std::make_heap(queue_.begin(), queue_.end(), later);
    while (!queue_.empty()) {
      const candidate best = queue_.front();
      std::pop_heap(queue_.begin(), queue_.end(), later);
      queue_.pop_back();
      const std::uint32_t at = best.at, right = ids[at] == gone ? count : next_[at];
      if (right >= count) continue;
      const merge_table::merge* now = table_->find(ids[at], ids[right]);
      if (now == nullptr || now->result != best.result) continue;  // one of the two has merged with another since
      ids[at] = best.result;
      ids[right] = gone;
      next_[at] = next_[right];
      if (next_[at] < count) {
        previous_[next_[at]] = at;
        offer(ids, at, next_[at], true);
      }
      if (at > 0) offer(ids, previous_[at], at, true);
    }
    ids.erase(std::remove(ids.begin(), ids.end(), gone), ids.end());
  }

 private:
  static constexpr std::uint32_t gone = static_cast<std::uint32_t>(-1);
  struct candidate {
    std::uint32_t rank, at, result;
  };
  static bool later(const candidate& a, const candidate& b) { return a.rank != b.rank ? a.rank > b.rank : a.at > b.at; }
  void offer(const std::vector<std::uint32_t>& ids, std::uint32_t left, std::uint32_t right, bool sift) {
    const merge_table::merge* m = table_->find(ids[left], ids[right]);
    if (m == nullptr) return;
    queue_.push_back({m->rank, left, m->result});
    if (sift) std::push_heap(queue_.begin(), queue_.end(), later);
  }
  const merge_table* table_;
  std::vector<std::uint32_t> next_, previous_;
  std::vector<candidate> queue_;
};

}  // namespace plait::inline v0_1::io
