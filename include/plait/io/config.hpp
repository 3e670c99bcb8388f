#pragma once
// config.json of a Hugging Face model, read into one typed struct: spellings of transformers 4 and 5, the defaults of
// its classes, and a refusal (one line, naming file and field) of everything the library would compute differently.
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "plait/io/config_families.hpp"
#include "plait/io/error.hpp"
#include "plait/io/file.hpp"
#include "plait/io/hf_folder.hpp"
#include "plait/io/json.hpp"

namespace plait::inline v0_1::io {

inline constexpr std::uint64_t max_config_bytes = 16u << 20;

/// Reads the text of a config.json; `file` is the name for error messages.
inline model_config parse_config(std::string_view file, std::string text) {
  if (text.size() > max_config_bytes) throw input_error(file, "", "is larger than 16 MB; this is no model configuration");
  const json_value tree = parse_json_tree(file, text);
  if (tree.type != json_value::kind::object)
    throw input_error(file, "", std::string("is ") + tree.kind_name() + ", not an object");
  const detail::fields fields(file, tree);
  if (!fields.find("model_type")) fields.fail("model_type", "is missing; it says which family the model is of");
  const std::string family = fields.text("model_type", "");
  std::string supported;
  for (const detail::config_family& known : detail::config_families) {
    if (family == known.model_type) {
      model_config config;
      config.family = family;
      known.read(fields, config);
      config.raw_text = std::move(text);
      return config;
    }
    if (!supported.empty()) supported += ", ";
    supported += known.model_type;
  }
  fields.fail("model_type", "is " + in_quotes(family, 40) + "; supported families: " + supported);
}

/// Reads config.json of a model folder.
inline model_config read_config(const std::string& folder) {
  const std::string path = resolve_inside(folder, "config.json", folder, "");
  const std::string shown = folder + "/config.json";
  return parse_config(shown, read_text_file(path, max_config_bytes, shown));
}

}  // namespace plait::inline v0_1::io
