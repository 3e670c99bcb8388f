#pragma once
// Reads a tokenizer.json: byte-level BPE and the few components around it that plait applies exactly as Hugging Face tokenizers
// does. Anything else is refused here; nothing is guessed.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/io/added_tokens.hpp"
#include "plait/io/error.hpp"
#include "plait/io/json.hpp"
#include "plait/io/tokenizer_parts.hpp"
#include "plait/io/word_split.hpp"

namespace plait::inline v0_1::io {

namespace detail {

/// Reads the components. Every field is known and has the one value that plait applies, or the file is refused.
class tokenizer_components {
 public:
  tokenizer_components(std::string_view file, const json_value& root, tokenizer_parts& parts) : file_(file), parts_(parts) {
    known(root, "",
          {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder",
           "model"});
    if (text(root, "", "version") != "1.0") fail("version", "is not \"1.0\"; plait knows no other");
    for (const char* name : {"truncation", "padding"})
      if (const json_value* v = root.find(name); v && !v->is_null())
        fail(name, "is set, and would cut or fill every text; set it to null");
    model(at(root, "", "model"));
    if (const json_value* v = root.find("normalizer"); v && !v->is_null()) normalizer(*v, "normalizer");
    pre_tokenizer(at(root, "", "pre_tokenizer"));
    if (const json_value* v = root.find("post_processor"); v && !v->is_null()) post_processor(*v, "post_processor");
    const json_value& decoder = at(root, "", "decoder");
    if (type_of(decoder, "decoder") != "ByteLevel") unsupported("decoder", type_of(decoder, "decoder"), "ByteLevel");
    byte_level_fields(decoder, "decoder");
    if (const json_value* v = root.find("added_tokens")) added_tokens(*v);
  }

 private:
  using kind = json_value::kind;

  [[noreturn]] void fail(const std::string& field, const std::string& problem) const { throw input_error(file_, field, problem); }
  [[noreturn]] void unsupported(const std::string& field, std::string_view found, const std::string& supported) const {
    fail(field, "is of type " + in_quotes(found, 40) + "; plait reads " + supported +
                    ". If the folder has a tokenizer.model, take " + "tokenizer.json out of it");
  }
  static std::string join(const std::string& field, std::string_view name) {
    return field.empty() ? std::string(name) : field + "." + std::string(name);
  }
  void known(const json_value& object, const std::string& field, std::initializer_list<std::string_view> names) const {
    if (object.type != kind::object) fail(field, std::string("is ") + object.kind_name() + "; an object belongs here");
    for (const std::string& key : object.keys)
      if (std::find(names.begin(), names.end(), key) == names.end())
        fail(join(field, in_quotes(key, 40)), "is a field that plait does not know; it could change the tokens");
  }
  const json_value& at(const json_value& object, const std::string& field, std::string_view name) const {
    if (object.type != kind::object) fail(field, std::string("is ") + object.kind_name() + "; an object belongs here");
    const json_value* v = object.find(name);
    if (!v) fail(join(field, name), "is missing; save the tokenizer again");
    return *v;
  }
  const std::string& text(const json_value& object, const std::string& field, std::string_view name) const {
    const json_value& v = at(object, field, name);
    if (v.type != kind::string) fail(join(field, name), std::string("is ") + v.kind_name() + "; a text belongs here");
    return v.text;
  }
  const std::string& type_of(const json_value& object, const std::string& field) const { return text(object, field, "type"); }
  bool flag(const json_value& object, const std::string& field, std::string_view name, bool otherwise) const {
    const json_value* v = object.find(name);
    if (!v) return otherwise;
    if (v->type != kind::boolean) fail(join(field, name), std::string("is ") + v->kind_name() + "; true or false belongs here");
    return v->flag;
  }
  std::uint32_t id(const json_value& v, const std::string& field) const {
    if (v.type != kind::natural || v.natural > max_token_id)
      fail(field, "is not an id; a whole number from 0 to " + std::to_string(max_token_id) + " belongs here");
    return static_cast<std::uint32_t>(v.natural);
  }
  const std::vector<json_value>& list(const json_value& object, const std::string& field, std::string_view name) const {
    const json_value& v = at(object, field, name);
    if (v.type != kind::array) fail(join(field, name), std::string("is ") + v.kind_name() + "; a list belongs here");
    return v.items;
  }
  void byte_level_fields(const json_value& v, const std::string& field) const {
    known(v, field, {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  }

  void model(const json_value& m) {
    known(m, "model",
          {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
           "ignore_merges"});
    if (type_of(m, "model") != "BPE") unsupported("model.type", type_of(m, "model"), "BPE");
    if (const json_value* v = m.find("dropout"); v && !v->is_null() && !(v->is_number() && v->number == 0))
      fail("model.dropout", "is set, and tokens would be random; set it to null");
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const json_value* v = m.find(name); v && !v->is_null() && !(v->type == kind::string && v->text.empty()))
        fail(std::string("model.") + name, "is set; plait reads byte-level BPE, where it is null");
    if (flag(m, "model", "byte_fallback", false))
      fail("model.byte_fallback",
           "is true: this is no byte-level BPE. If the folder has a tokenizer.model, take tokenizer.json out of it");
    parts_.ignore_merges = flag(m, "model", "ignore_merges", false);
  }
  void normalizer(const json_value& v, const std::string& field) {
    const std::string& type = type_of(v, field);
    if (type == "NFC") {
      known(v, field, {"type"});
      parts_.normalize = true;
    } else if (type == "Sequence" && field == "normalizer") {
      known(v, field, {"type", "normalizers"});
      for (const json_value& one : list(v, field, "normalizers")) normalizer(one, "normalizer.normalizers[]");
    } else {
      unsupported(field, type, "NFC or null");
    }
  }
  void pre_tokenizer(const json_value& v) {
    const std::string field = "pre_tokenizer";
    if (v.is_null()) fail(field, "is null; plait reads ByteLevel, and Split followed by ByteLevel");
    const std::string& type = type_of(v, field);
    if (type == "ByteLevel") return byte_level(v, field, true);
    if (type != "Sequence") unsupported(field, type, "ByteLevel, and Split followed by ByteLevel");
    known(v, field, {"type", "pretokenizers"});
    const auto& items = list(v, field, "pretokenizers");
    if (items.size() != 2 || type_of(items[0], field) != "Split" || type_of(items[1], field) != "ByteLevel")
      fail(field + ".pretokenizers", "is not Split followed by ByteLevel; plait reads no other sequence");
    const std::string split = field + ".pretokenizers[0]";
    known(items[0], split, {"type", "pattern", "behavior", "invert"});
    const json_value& pattern = at(items[0], split, "pattern");
    known(pattern, split + ".pattern", {"Regex", "String"});
    const auto found = pattern_of_regex(text(pattern, split + ".pattern", "Regex"));
    if (!found)
      fail(split + ".pattern.Regex", "is not the split pattern of GPT-2, Llama 3 or Qwen 2; plait splits by these alone");
    if (text(items[0], split, "behavior") != "Isolated" || flag(items[0], split, "invert", false))
      fail(split + ".behavior", "is not \"Isolated\" with invert false; plait splits in this way alone");
    byte_level(items[1], field + ".pretokenizers[1]", false);
    parts_.split = *found;
  }
  void byte_level(const json_value& v, const std::string& field, bool alone) {
    byte_level_fields(v, field);
    parts_.prefix_space = flag(v, field, "add_prefix_space", true);
    const bool use_regex = flag(v, field, "use_regex", true);
    if (alone) {
      parts_.split = use_regex ? split_pattern::gpt2 : split_pattern::none;
    } else if (use_regex || parts_.prefix_space) {
      fail(field, "splits again or adds spaces (use_regex, add_prefix_space); behind a Split both must be false");
    }
  }
  void post_processor(const json_value& v, const std::string& field) {
    const std::string& type = type_of(v, field);
    if (type == "ByteLevel") return byte_level_fields(v, field);  // it changes offsets alone
    if (type == "Sequence" && field == "post_processor") {
      known(v, field, {"type", "processors"});
      for (const json_value& one : list(v, field, "processors")) post_processor(one, "post_processor.processors[]");
      return;
    }
    if (type != "TemplateProcessing") unsupported(field, type, "TemplateProcessing, ByteLevel and a Sequence of them");
    if (std::exchange(templates_, true)) fail(field, "is a second template; plait applies one");
    known(v, field, {"type", "single", "pair", "special_tokens"});
    const json_value& special = at(v, field, "special_tokens");
    bool seen = false;
    for (const json_value& piece : list(v, field, "single")) {
      known(piece, field + ".single[]", {"Sequence", "SpecialToken"});
      if (const json_value* sequence = piece.find("Sequence")) {
        if (text(*sequence, field + ".single[].Sequence", "id") != "A" || piece.items.size() != 1 || std::exchange(seen, true))
          fail(field + ".single", "is not the text once with tokens around it; plait applies no other template");
        continue;
      }
      const std::string& name = text(at(piece, field + ".single[]", "SpecialToken"), field + ".single[].SpecialToken", "id");
      const std::string entry = field + ".special_tokens[" + in_quotes(name, 40) + "]";
      const json_value* token = special.find(name);
      if (!token) fail(entry, "is missing; save the tokenizer again");
      for (const json_value& one : list(*token, entry, "ids"))
        (seen ? parts_.after : parts_.before).push_back(id(one, entry + ".ids"));
    }
    if (!seen) fail(field + ".single", "leaves the text out; save the tokenizer again");
    if (parts_.before.size() + parts_.after.size() > 64) fail(field + ".single", "adds more than 64 tokens to a text");
  }
  void added_tokens(const json_value& v) {
    if (v.type != kind::array) fail("added_tokens", std::string("is ") + v.kind_name() + "; a list belongs here");
    for (std::size_t i = 0; i < v.items.size(); ++i) {
      const std::string field = "added_tokens[" + std::to_string(i) + "]";
      const json_value& item = v.items[i];
      known(item, field, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
      added_token token;
      token.id = id(at(item, field, "id"), field + ".id");
      token.content = text(item, field, "content");
      if (token.content.empty()) fail(field + ".content", "is empty; take the token out");
      if (token.content.size() > max_token_bytes)
        fail(field + ".content", "is longer than " + std::to_string(max_token_bytes) + " bytes");
      if (flag(item, field, "single_word", false))
        fail(field + ".single_word", "is true; plait does not look at the words around a token; set it to false");
      token.left_strip = flag(item, field, "lstrip", false);
      token.right_strip = flag(item, field, "rstrip", false);
      token.normalized = flag(item, field, "normalized", true);
      token.special = flag(item, field, "special", false);
      parts_.added.push_back(std::move(token));
    }
  }

  std::string_view file_;
  tokenizer_parts& parts_;
  bool templates_ = false;
};

}  // namespace detail

/// Reads the text of a tokenizer.json. Throws input_error naming `file`, the field and the fix. Whether tokens, merges and ids
/// belong together is checked by bpe_tokenizer.
inline tokenizer_parts read_tokenizer_json(std::string_view file, std::string_view text) {
  tokenizer_parts parts;
  detail::tokenizer_events events(file, parts);
  parse_json(file, "", text, 32, events);
  if (events.root().type != json_value::kind::object) throw input_error(file, "", "is no object; this is no tokenizer.json");
  const detail::tokenizer_components components(file, events.root(), parts);
  if (!events.has_vocabulary()) throw input_error(file, "model.vocab", "is missing; save the tokenizer again");
  if (!events.has_merges()) throw input_error(file, "model.merges", "is missing; save the tokenizer again");
  return parts;
}

}  // namespace plait::inline v0_1::io
