#pragma once
// The large part of a tokenizer.json, its vocabulary and merges, taken as the parser meets them; the small rest becomes a tree.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/io/added_tokens.hpp"
#include "plait/io/error.hpp"
#include "plait/io/json.hpp"
#include "plait/io/word_split.hpp"

namespace plait::inline v0_1::io {

inline constexpr std::uint64_t max_tokenizer_bytes = std::uint64_t{128} << 20;
inline constexpr std::uint64_t max_token_id = (std::uint64_t{1} << 22) - 1;
inline constexpr std::size_t max_token_bytes = 4096;

/// The parts of a byte-level BPE tokenizer. Token texts are in the alphabet of the file (see byte_pairs.hpp), all in `text`.
struct tokenizer_parts {
  struct word {
    std::uint32_t begin = 0, length = 0;
  };
  struct entry {
    word token;
    std::uint32_t id = 0;
  };
  std::string text;
  std::vector<entry> vocabulary;
  std::vector<std::pair<word, word>> merges;  ///< by rank
  std::vector<added_token> added;
  std::vector<std::uint32_t> before, after;  ///< ids that the template puts around a text
  split_pattern split = split_pattern::none;
  bool normalize = false;  ///< to NFC
  bool prefix_space = false;
  bool ignore_merges = false;  ///< a whole word that is a token is that token

  std::string_view view(word w) const { return std::string_view(text).substr(w.begin, w.length); }
};

namespace detail {

/// Takes model.vocab and model.merges as they come; the small rest of the file becomes a tree.
class tokenizer_events final : public json_events {
 public:
  tokenizer_events(std::string_view file, tokenizer_parts& parts) : file_(file), parts_(parts), rest_(file, 400'000) {}
  json_value& root() { return rest_.root; }
  bool has_vocabulary() const { return seen_[0]; }
  bool has_merges() const { return seen_[1]; }

  void null() override { place_ == place::rest ? rest_.null() : wrong("null"); }
  void boolean(bool value) override { place_ == place::rest ? rest_.boolean(value) : wrong("true or false"); }
  void negative(std::int64_t value) override { place_ == place::rest ? rest_.negative(value) : wrong("a negative number"); }
  void real(double value) override { place_ == place::rest ? rest_.real(value) : wrong("a number with a fraction"); }
  void natural(std::uint64_t value) override {
    if (place_ == place::rest) return rest_.natural(value);
    if (place_ != place::vocabulary) wrong("a number");
    if (value > max_token_id)
      fail("the id of " + in_quotes(name_, 60) + " is " + std::to_string(value) + "; at most " + std::to_string(max_token_id) +
           " is accepted");
    parts_.vocabulary.push_back({keep(name_), static_cast<std::uint32_t>(value)});
  }
  void string(std::string& value) override {
    if (place_ == place::rest) return rest_.string(value);
    if (place_ == place::pair) {
      if (pair_parts_ == 2) fail("merge " + std::to_string(rank_) + " has more than two tokens");
      (pair_parts_++ == 0 ? pair_.first : pair_.second) = keep(value);
      return;
    }
    if (place_ != place::merges) wrong("a text");
    form(false);
    if (value.starts_with("#version")) return;  // a line of the merges.txt from which such a file was made; it has no rank
    const std::size_t space = value.find(' ');
    if (space == 0 || space == std::string::npos || space + 1 == value.size() || value.find(' ', space + 1) != std::string::npos)
      fail("merge " + std::to_string(rank_) + " is " + in_quotes(value, 60) + "; two tokens with one space between belong here");
    const word both = keep(value);
    add({{both.begin, static_cast<std::uint32_t>(space)},
         {both.begin + static_cast<std::uint32_t>(space) + 1, both.length - static_cast<std::uint32_t>(space) - 1}});
  }
  void begin_object() override {
    if (place_ == place::rest) return ++depth_, rest_.begin_object();
    if (place_ != place::before_vocabulary) wrong("an object");
    place_ = place::vocabulary;
  }
  void begin_array() override {
    if (place_ == place::rest) return ++depth_, rest_.begin_array();
    if (place_ == place::merges) {
      form(true);
      pair_parts_ = 0;
      place_ = place::pair;
      return;
    }
    if (place_ != place::before_merges) wrong("a list");
    place_ = place::merges;
  }
  void key(std::string& name) override {
    if (place_ == place::vocabulary) {
      name_ = std::move(name);
      return;
    }
    if (depth_ == 1) top_ = name;
    const bool vocabulary = name == "vocab";
    if (depth_ == 2 && top_ == "model" && (vocabulary || name == "merges")) {
      require_bpe(*rest_.open.back());
      place_ = vocabulary ? place::before_vocabulary : place::before_merges;
      if (std::exchange(seen_[vocabulary ? 0 : 1], true)) fail("is there twice; keep one of them");
      return;
    }
    rest_.key(name);
  }
  void end_object() override {
    if (place_ == place::rest) return --depth_, rest_.end_object();
    place_ = place::rest;
  }
  void end_array() override {
    if (place_ == place::rest) return --depth_, rest_.end_array();
    if (place_ == place::pair) {
      if (pair_parts_ != 2) fail("merge " + std::to_string(rank_) + " has fewer than two tokens");
      add(pair_);
      place_ = place::merges;
      return;
    }
    place_ = place::rest;
  }
  void require_bpe(const json_value& model) const {
    const json_value* type = model.find("type");
    if (type && (type->type != json_value::kind::string || type->text != "BPE"))
      throw input_error(file_, "model.type",
                        "is " + in_quotes(type->text, 40) + "; plait reads BPE. If the folder has a " +
                            "tokenizer.model, take tokenizer.json out of it");
  }

 private:
  using word = tokenizer_parts::word;
  enum class place { rest, before_vocabulary, vocabulary, before_merges, merges, pair };

  [[noreturn]] void fail(const std::string& problem) const {
    const bool vocabulary = place_ == place::before_vocabulary || place_ == place::vocabulary;
    throw input_error(file_, vocabulary ? "model.vocab" : "model.merges", problem);
  }
  [[noreturn]] void wrong(const char* kind) const {
    switch (place_) {
      case place::before_vocabulary:
        fail(std::string("is ") + kind + "; an object of tokens and their ids belongs here");
      case place::vocabulary:
        fail("the id of " + in_quotes(name_, 60) + " is " + kind + "; a number from 0 on belongs here");
      case place::before_merges:
        fail(std::string("is ") + kind + "; a list of merges belongs here");
      default:
        fail("merge " + std::to_string(rank_) + " is or holds " + kind + "; two tokens belong here");
    }
  }
  word keep(std::string_view token) {
    if (token.size() > max_token_bytes + 1)  // a merge as one text has a space more
      fail("a token of " + std::to_string(token.size()) + " bytes, " + in_quotes(token, 60) + ", is longer than " +
           std::to_string(max_token_bytes));
    const word w{static_cast<std::uint32_t>(parts_.text.size()), static_cast<std::uint32_t>(token.size())};
    parts_.text += token;  // never more than the file is long
    return w;
  }
  void add(const std::pair<word, word>& merge) {
    parts_.merges.push_back(merge);
    ++rank_;
  }
  void form(bool pairs) {
    if (rank_ > 0 && pairs != pairs_) fail("some are texts and some are lists; write all in one form");
    pairs_ = pairs;
  }

  std::string_view file_;
  tokenizer_parts& parts_;
  tree_builder rest_;
  place place_ = place::rest;
  int depth_ = 0;
  bool seen_[2] = {false, false};
  std::string top_, name_;
  std::pair<word, word> pair_;
  int pair_parts_ = 0;
  bool pairs_ = false;
  std::uint32_t rank_ = 0;
};

}  // namespace detail

}  // namespace plait::inline v0_1::io
