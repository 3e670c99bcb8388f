#pragma once
// Text to tokens and back. A tokenizer is const after it was opened and may be shared by threads; decoding for a stream keeps
// its state in a text_stream. The plainest tokenizer, one token a byte, is here; open_tokenizer.hpp opens those of a model
// folder.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace plait::inline v0_1::io {

class tokenizer {
 public:
  virtual ~tokenizer() = default;
  /// What it was made of: "bytes", "tokenizer.json" or "tokenizer.model".
  virtual std::string_view kind() const = 0;
  /// One more than the largest id. A model's vocabulary may be larger (padding), never smaller.
  virtual std::int64_t vocabulary() const = 0;
  /// The ids of a text; any bytes are accepted. `add_special`: with the tokens that the model wants around a text (a
  /// begin-of-text).
  virtual std::vector<std::int64_t> encode(std::string_view text, bool add_special = true) const = 0;
  /// A token that stands for no text of its own (end of text, a role of a chat).
  virtual bool is_special(std::int64_t id) const = 0;
  /// Appends the bytes of one token, which may be a part of a UTF-8 character; nothing for an id without text. `at_start` is true
  /// before the first token of a text and belongs to this function then (a leading space may be dropped there).
  virtual void append_bytes(std::int64_t id, bool& at_start, std::string& out) const = 0;

  /// The bytes of a text. They need not be UTF-8: a model may say anything.
  std::string decode(std::span<const std::int64_t> ids, bool skip_special = true) const {
    std::string out;
    bool at_start = true;
    for (const std::int64_t id : ids)
      if (!skip_special || !is_special(id)) append_bytes(id, at_start, out);
    return out;
  }
  /// The ids after which generation stops, sorted; empty where none is known.
  const std::vector<std::int64_t>& end_of_text() const { return end_of_text_; }
  bool is_end_of_text(std::int64_t id) const {
    for (const std::int64_t end : end_of_text_)
      if (end == id) return true;
    return false;
  }
  void set_end_of_text(std::vector<std::int64_t> ids) { end_of_text_ = std::move(ids); }

 private:
  std::vector<std::int64_t> end_of_text_;
};

/// One token a byte, ids 0 to 255. Needs no file and a model with a vocabulary of at least 256.
class byte_tokenizer final : public tokenizer {
 public:
  std::string_view kind() const override { return "bytes"; }
  std::int64_t vocabulary() const override { return 256; }
  std::vector<std::int64_t> encode(std::string_view text, bool = true) const override {
    std::vector<std::int64_t> ids(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) ids[i] = static_cast<unsigned char>(text[i]);
    return ids;
  }
  bool is_special(std::int64_t) const override { return false; }
  void append_bytes(std::int64_t id, bool& at_start, std::string& out) const override {
    at_start = false;
    if (id >= 0 && id < 256) out += static_cast<char>(static_cast<unsigned char>(id));
  }
};

/// Makes well-formed UTF-8 of bytes that come in pieces: a character is given out when its last byte is there, and each longest
/// beginning of a character that does not go on as one becomes U+FFFD (as in Python's errors="replace").
class utf8_stream {
 public:
  /// The whole characters that `bytes` finishes.
  std::string push(std::string_view bytes) {
    waiting_ += bytes;
    std::string out;
    std::size_t at = 0;
    while (at < waiting_.size()) {
      const auto [length, whole] = part_at(at);
      if (!whole && at + length == waiting_.size() && wanted(at) > length) break;  // may still become a character
      whole ? out.append(waiting_, at, length) : out.append("\xef\xbf\xbd");
      at += length;
    }
    waiting_.erase(0, at);
    return out;
  }
  /// What is left of an unfinished character.
  std::string finish() { return std::exchange(waiting_, {}).empty() ? "" : "\xef\xbf\xbd"; }

 private:
  struct part {
    std::size_t length;
    bool whole;
  };
  std::size_t wanted(std::size_t at) const {
    const auto first = static_cast<unsigned char>(waiting_[at]);
    return first < 0xc2 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 1;
  }
  /// The character at `at`, or the longest beginning of one.
  part part_at(std::size_t at) const {
    const auto first = static_cast<unsigned char>(waiting_[at]);
    if (first < 0x80) return {1, true};
    const std::size_t most = wanted(at);
    for (std::size_t i = 1; i < most; ++i) {
      if (at + i == waiting_.size()) return {i, false};
      const auto c = static_cast<unsigned char>(waiting_[at + i]);
      const unsigned low = i > 1 ? 0x80u : first == 0xe0 ? 0xa0u : first == 0xf0 ? 0x90u : 0x80u;
      const unsigned high = i > 1 ? 0xbfu : first == 0xed ? 0x9fu : first == 0xf4 ? 0x8fu : 0xbfu;
      if (c < low || c > high) return {i, false};
    }
    return {most, most > 1};
  }
  std::string waiting_;  // at most 3 bytes between calls
};

/// Decodes token by token for a terminal: never half a character, always UTF-8.
class text_stream {
 public:
  explicit text_stream(const tokenizer& from, bool skip_special = true) : from_(&from), skip_special_(skip_special) {}
  /// The characters that this token finishes; often none.
  std::string push(std::int64_t id) {
    std::string bytes;
    if (!skip_special_ || !from_->is_special(id)) from_->append_bytes(id, at_start_, bytes);
    return utf8_.push(bytes);
  }
  /// After the last token.
  std::string finish() { return utf8_.finish(); }

 private:
  const tokenizer* from_;
  bool skip_special_;
  bool at_start_ = true;
  utf8_stream utf8_;
};

}  // namespace plait::inline v0_1::io
