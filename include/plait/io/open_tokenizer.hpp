#pragma once
// The tokenizer of a model folder: tokenizer.json, else tokenizer.model, else bytes.
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "plait/io/bpe_tokenizer.hpp"
#include "plait/io/error.hpp"
#include "plait/io/file.hpp"
#include "plait/io/hf_folder.hpp"
#include "plait/io/json.hpp"
#include "plait/io/tokenizer.hpp"
#include "plait/io/tokenizer_json_reader.hpp"

namespace plait::inline v0_1::io {

/// What tokenizer_config.json says beyond the tokenizer itself.
struct tokenizer_settings {
  std::string end_of_text;        ///< text of the token; "": not said
  bool add_begin_of_text = true;  ///< of a tokenizer.model; a tokenizer.json has a template instead
};

/// A sentencepiece model from the bytes of a tokenizer.model; `shown` is what errors call the file. Defined in implementation.hpp
/// where PLAIT_HAS_SENTENCEPIECE is set; elsewhere it throws input_error.
template <class = void>
std::unique_ptr<tokenizer> open_sentencepiece(const std::string& shown, std::string_view bytes,
                                              const tokenizer_settings& settings);

inline tokenizer_settings read_tokenizer_settings(std::string_view file, std::string_view text) {
  using kind = json_value::kind;
  const json_value tree = parse_json_tree(file, text);
  if (tree.type != kind::object) throw input_error(file, "", std::string("is ") + tree.kind_name() + ", not an object");
  tokenizer_settings settings;
  if (const json_value* end = tree.find("eos_token"); end && !end->is_null()) {
    const json_value* content = end->type == kind::object ? end->find("content") : end;
    if (!content || content->type != kind::string)
      throw input_error(file, "eos_token", "is neither a text nor an object with a content; write the text of the token");
    settings.end_of_text = content->text;
  }
  if (const json_value* add = tree.find("add_bos_token"); add && !add->is_null()) {
    if (add->type != kind::boolean)
      throw input_error(file, "add_bos_token", std::string("is ") + add->kind_name() + ", not true or false");
    settings.add_begin_of_text = add->flag;
  }
  return settings;
}

/// The tokenizer of a tokenizer.json from its text; `shown` is what errors call the file.
inline std::unique_ptr<bpe_tokenizer> open_tokenizer_json(const std::string& shown, std::string_view text) {
  return std::make_unique<bpe_tokenizer>(shown, read_tokenizer_json(shown, text));
}

/// Opens what the folder has. A file that is there but cannot be applied exactly is refused; none is passed over.
inline std::unique_ptr<tokenizer> open_tokenizer(std::string folder) {
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  const auto has = [&](const char* name) {
    struct stat status {};
    return ::lstat((folder + "/" + name).c_str(), &status) == 0;
  };
  const auto read = [&](const char* name, std::uint64_t limit) {
    return read_text_file(resolve_inside(folder, name, folder, ""), limit, folder + "/" + name);
  };
  const bool json = has("tokenizer.json");
  if (!json && !has("tokenizer.model")) return std::make_unique<byte_tokenizer>();
  tokenizer_settings settings;
  const std::string config = folder + "/tokenizer_config.json";
  if (has("tokenizer_config.json"))
    settings = read_tokenizer_settings(config, read("tokenizer_config.json", std::uint64_t{16} << 20));
  if (!json) return open_sentencepiece(folder + "/tokenizer.model", read("tokenizer.model", max_tokenizer_bytes), settings);
  auto opened = open_tokenizer_json(folder + "/tokenizer.json", read("tokenizer.json", max_tokenizer_bytes));
  if (!settings.end_of_text.empty()) {
    const std::int64_t id = opened->find(settings.end_of_text);
    if (id < 0)
      throw input_error(config, "eos_token",
                        in_quotes(settings.end_of_text, 60) + " is no added token of tokenizer.json; correct one of them");
    opened->set_end_of_text({id});
  }
  return opened;
}

/// Throws input_error where the tokenizer has ids that a model of this vocabulary lacks.
inline void require_vocabulary(const tokenizer& t, std::int64_t model_vocabulary, std::string_view model) {
  if (t.vocabulary() > model_vocabulary)
    throw input_error(model, "vocab_size",
                      "is " + std::to_string(model_vocabulary) + ", but its tokenizer (" + std::string(t.kind()) +
                          ") has ids up to " + std::to_string(t.vocabulary() - 1) +
                          "; use the model's own tokenizer, or a model with a larger vocabulary");
}

}  // namespace plait::inline v0_1::io
