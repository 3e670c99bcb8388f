#pragma once
// generation_config.json of a model, as far as it decides where a text ends.
#include "plait/io/config.hpp"

namespace plait::inline v0_1::io {

/// The ids that end a row: eos_token_id (a number or a list) of this generation_config.json where it says any, else config.json's.
/// `file` is the name for error messages.
inline std::vector<std::int64_t> parse_stop_ids(std::string_view file, std::string_view text, const model_config& config) {
  const json_value tree = parse_json_tree(file, text);
  if (tree.type != json_value::kind::object) throw input_error(file, "", std::string("is ") + tree.kind_name() + ", not an object");
  const detail::fields fields(file, tree);
  const std::vector<std::int64_t> ids = fields.numbers("eos_token_id");
  for (const std::int64_t id : ids)
    if (id >= config.vocabulary)
      fields.fail("eos_token_id", "is " + std::to_string(id) + ", but the model's tokens go from 0 to " + std::to_string(config.vocabulary - 1));
  return ids.empty() ? config.eos : ids;
}

}  // namespace plait::inline v0_1::io
