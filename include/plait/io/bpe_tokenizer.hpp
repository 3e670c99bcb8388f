#pragma once
// The tokenizer of a tokenizer.json: byte-level byte-pair encoding. Ids and decoded text are those of Hugging Face tokenizers.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "plait/io/added_tokens.hpp"
#include "plait/io/byte_pairs.hpp"
#include "plait/io/error.hpp"
#include "plait/io/file.hpp"
#include "plait/io/tokenizer.hpp"
#include "plait/io/tokenizer_json_reader.hpp"
#include "plait/io/unicode.hpp"
#include "plait/io/word_split.hpp"

namespace plait::inline v0_1::io {

namespace detail {

/// Hashes texts with a secret of the process, so that no file can be made whose texts all collide.
struct text_hash {
  std::size_t operator()(std::string_view text) const {
    static const std::uint64_t secret = [] {
      std::random_device device;
      return (std::uint64_t{device()} << 32 | device()) | 1u;
    }();
    std::uint64_t h = secret ^ text.size();
    const auto mix = [&](std::uint64_t word) {
      h = (h ^ word) * (secret | 0x9e3779b97f4a7c15u);
      h ^= h >> 29;
    };
    for (; text.size() >= 8; text.remove_prefix(8)) {
      std::uint64_t word = 0;
      for (std::size_t i = 0; i < 8; ++i) word = word << 8 | static_cast<unsigned char>(text[i]);
      mix(word);
    }
    std::uint64_t word = 0;
    for (const char c : text) word = word << 8 | static_cast<unsigned char>(c);
    mix(word);
    return static_cast<std::size_t>(h ^ h >> 32);
  }
};
using text_map = std::unordered_map<std::string_view, std::uint32_t, text_hash>;

}  // namespace detail

class bpe_tokenizer final : public tokenizer {
 public:
  /// Checks that tokens, merges and ids belong together; throws input_error.
  bpe_tokenizer(std::string_view file, const tokenizer_parts& parts)
      : split_(parts.split),
        normalize_(parts.normalize),
        prefix_space_(parts.prefix_space),
        ignore_merges_(parts.ignore_merges),
        before_(parts.before.begin(), parts.before.end()),
        after_(parts.after.begin(), parts.after.end()) {
    const detail::text_map ids = take_vocabulary(file, parts);
    take_merges(file, parts, ids);
    take_added(file, parts, ids);
    for (const auto* around : {&before_, &after_})
      for (const std::int64_t id : *around)
        if (id >= vocabulary() || !known_[static_cast<std::size_t>(id)])
          throw input_error(file, "post_processor",
                            "adds the id " + std::to_string(id) + ", which no token has; save the tokenizer again");
    if (ignore_merges_)
      for (const auto& entry : parts.vocabulary)
        if (bytes_of_token(parts.view(entry.token))) whole_.emplace(bytes_of(entry.id), entry.id);
  }
  bpe_tokenizer(const bpe_tokenizer&) = delete;  // whole_ points into bytes_
  bpe_tokenizer& operator=(const bpe_tokenizer&) = delete;

  std::string_view kind() const override { return "tokenizer.json"; }
  std::int64_t vocabulary() const override { return static_cast<std::int64_t>(known_.size()); }
  bool is_special(std::int64_t id) const override {
    return id >= 0 && id < vocabulary() && special_[static_cast<std::size_t>(id)];
  }
  void append_bytes(std::int64_t id, bool& at_start, std::string& out) const override {
    at_start = false;
    if (id >= 0 && id < vocabulary()) out += bytes_of(static_cast<std::uint32_t>(id));
  }
  /// The id of a token by its text, or -1.
  std::int64_t find(std::string_view content) const {
    const auto at = std::find_if(named_.begin(), named_.end(), [&](const auto& n) { return n.first == content; });
    return at == named_.end() ? -1 : at->second;
  }

  std::vector<std::int64_t> encode(std::string_view text, bool add_special = true) const override {
    if (text.size() > std::numeric_limits<std::uint32_t>::max() / 2)
      throw input_error("the text to be tokenised is larger than 2 GiB; cut it in parts");
    std::vector<std::int64_t> ids;
    if (add_special) ids = before_;
    encoder to(*this, ids, text.size());
    raw_.split(text, [&](const added_token_finder::piece& piece) {
      if (piece.token) return ids.push_back(piece.token->id);
      if (normalize_ && !is_plainly_nfc(piece.text)) return to.normalized(nfc(piece.text));
      to.normalized(piece.text);
    });
    if (add_special) ids.insert(ids.end(), after_.begin(), after_.end());
    return ids;
  }

 private:
  /// One call of encode. Words come again and again, so some that were merged are remembered.
  struct encoder {
    struct merged_word {
      std::string bytes;
      std::vector<std::uint32_t> ids;
    };
    const bpe_tokenizer& from;
    std::vector<std::int64_t>& ids;
    std::vector<merged_word> memory;  // by hash; a later word takes the place of an earlier one
    word_merger merger{from.merges_};
    std::vector<std::uint32_t> word{};

    encoder(const bpe_tokenizer& t, std::vector<std::int64_t>& out, std::size_t bytes)
        : from(t), ids(out), memory(std::bit_ceil(std::clamp<std::size_t>(bytes / 16, 1, 8192))) {}

    void normalized(std::string_view text) {
      from.normalized_.split(text, [&](const added_token_finder::piece& piece) {
        if (piece.token) return ids.push_back(piece.token->id);
        if (from.prefix_space_ && !piece.text.starts_with(' ')) return words(" " + std::string(piece.text));
        words(piece.text);
      });
    }
    void words(std::string_view text) {
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = word_end(from.split_, text, at);
        one(text.substr(at, end - at));
        at = end;
      }
    }
    void one(std::string_view bytes) {
      if (from.ignore_merges_)
        if (const auto found = from.whole_.find(bytes); found != from.whole_.end()) return ids.push_back(found->second);
      merged_word& seen = memory[detail::text_hash{}(bytes) % memory.size()];
      if (seen.bytes == bytes) {
        ids.insert(ids.end(), seen.ids.begin(), seen.ids.end());
        return;
      }
      word.clear();
      for (const char byte : bytes) word.push_back(from.byte_id_[static_cast<unsigned char>(byte)]);
      merger.merge(word);
      ids.insert(ids.end(), word.begin(), word.end());
      if (bytes.size() <= 64) seen.bytes = bytes, seen.ids = word;
    }
  };

  std::string_view bytes_of(std::uint32_t id) const {
    return std::string_view(bytes_).substr(start_[id], start_[id + 1] - start_[id]);
  }

  /// Ids by text; the bytes of every id, also of the added tokens.
  detail::text_map take_vocabulary(std::string_view file, const tokenizer_parts& parts) {
    const auto quoted = [&](std::string_view token) { return "model.vocab[" + in_quotes(token, 60) + "]"; };
    detail::text_map ids;
    ids.reserve(parts.vocabulary.size());
    std::size_t count = 0;
    for (const auto& entry : parts.vocabulary) {
      if (!ids.emplace(parts.view(entry.token), entry.id).second)
        throw input_error(file, quoted(parts.view(entry.token)), "is there twice; keep one of them");
      count = std::max<std::size_t>(count, entry.id + std::size_t{1});
    }
    for (const added_token& token : parts.added) count = std::max<std::size_t>(count, token.id + std::size_t{1});
    std::vector<std::string_view> texts(count);
    known_.resize(count);
    special_.resize(count);
    for (const auto& entry : parts.vocabulary) {
      if (known_[entry.id])
        throw input_error(
            file, quoted(parts.view(entry.token)),
            "has the id " + std::to_string(entry.id) + " of " + in_quotes(texts[entry.id], 60) + "; number the tokens anew");
      known_[entry.id] = true;
      texts[entry.id] = parts.view(entry.token);
    }
    for (const added_token& token : parts.added) texts[token.id] = token.content;  // checked in take_added
    for (const std::string_view text : texts) {
      start_.push_back(static_cast<std::uint32_t>(bytes_.size()));
      bytes_ += bytes_of_token(text).value_or(std::string(text));
    }
    start_.push_back(static_cast<std::uint32_t>(bytes_.size()));
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::string token = token_of_bytes(std::string(1, static_cast<char>(static_cast<unsigned char>(byte))));
      const auto at = ids.find(token);
      if (at == ids.end())
        throw input_error(
            file, quoted(token),
            "is missing: byte " + std::to_string(byte) + " would have no token; train with the whole byte alphabet");
      byte_id_[byte] = at->second;
    }
    return ids;
  }

  void take_merges(std::string_view file, const tokenizer_parts& parts, const detail::text_map& ids) {
    std::vector<merge_table::merge> merges;
    merges.reserve(parts.merges.size());
    std::string both;
    for (const auto& [first, second] : parts.merges) {
      both.assign(parts.view(first)).append(parts.view(second));
      const auto rank = static_cast<std::uint32_t>(merges.size());
      const auto find = [&](std::string_view token) {
        const auto at = ids.find(token);
        if (at == ids.end())
          throw input_error(file, "model.merges[" + std::to_string(rank) + "]",
                            "needs the token " + in_quotes(token, 60) + ", which model.vocab lacks; save the tokenizer again");
        return at->second;
      };
      merges.push_back({find(parts.view(first)), find(parts.view(second)), rank, find(both)});
    }
    merges_ = merge_table(std::move(merges), known_.size());
    if (const auto rank = merges_.twice())
      throw input_error(file, "model.merges[" + std::to_string(*rank) + "]",
                        "merges a pair for the second time; keep one of them");
  }

  /// tokenizers does not read the ids of added tokens but numbers them itself: as in model.vocab, otherwise upwards from its
  /// size.
  void take_added(std::string_view file, const tokenizer_parts& parts, const detail::text_map& ids) {
    std::vector<added_token> raw, normalized;
    detail::text_map seen;
    std::uint64_t next = ids.size();
    for (std::size_t i = 0; i < parts.added.size(); ++i) {
      const added_token& token = parts.added[i];
      const std::string field = "added_tokens[" + std::to_string(i) + "]";
      if (!seen.emplace(token.content, token.id).second)
        throw input_error(file, field + ".content", in_quotes(token.content, 60) + " is there twice; keep one of them");
      const auto in_vocabulary = ids.find(token.content);
      const std::uint64_t expected = in_vocabulary != ids.end() ? in_vocabulary->second : next;
      if (token.id != expected || (in_vocabulary == ids.end() && known_[token.id]))
        throw input_error(file, field + ".id",
                          "of " + in_quotes(token.content, 60) + " is " + std::to_string(token.id) +
                              ", but tokenizers would give it " + std::to_string(expected) +
                              "; number the tokens in order and without gaps");
      next = std::max(next, expected + 1);
      known_[token.id] = true;
      special_[token.id] = token.special;
      named_.emplace_back(token.content, token.id);
      (token.normalized ? normalized : raw).push_back(token);
      if (token.normalized && normalize_) normalized.back().content = nfc(token.content);
    }
    raw_ = added_token_finder(std::move(raw));
    normalized_ = added_token_finder(std::move(normalized));
  }

  split_pattern split_;
  bool normalize_, prefix_space_, ignore_merges_;
  std::vector<std::int64_t> before_, after_;
  std::array<std::uint32_t, 256> byte_id_{};
  merge_table merges_;
  std::string bytes_;  // of all tokens, by id
  std::vector<std::uint32_t> start_;
  std::vector<bool> known_, special_;
  detail::text_map whole_;
  std::vector<std::pair<std::string, std::int64_t>> named_;  // the added tokens
  added_token_finder raw_, normalized_;
};

}  // namespace plait::inline v0_1::io
