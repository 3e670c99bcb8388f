#pragma once
// Which layers of a config.json attend locally, and how far.
#include "plait/io/config_fields.hpp"
#include "plait/io/model_config.hpp"

namespace plait::inline v0_1::io {
namespace detail {

/// layer_types, each "full_attention" or `local`; `fallback` where the field is missing or null.
inline std::vector<bool> read_local_layers(const fields& f, const model_config& c, std::string_view local, std::vector<bool> fallback) {
  const json_value* types = f.find("layer_types");
  if (!types) return fallback;
  if (types->type != json_value::kind::array) f.wrong("layer_types", *types, "a list");
  if (static_cast<std::int64_t>(types->items.size()) != c.layers)
    f.fail("layer_types", "has " + std::to_string(types->items.size()) + " entries for " + std::to_string(c.layers) + " layers");
  std::vector<bool> layers;
  for (const json_value& type : types->items) {
    if (type.type != json_value::kind::string || (type.text != "full_attention" && type.text != local))
      f.fail("layer_types", "names another kind than \"full_attention\"" + (local.empty() ? "" : " and " + in_quotes(local)) +
                                "; no other is supported in this family");
    layers.push_back(type.text != "full_attention");
  }
  return layers;
}

/// The width of a window or chunk in `name`, which must be there where a layer attends locally; 0 where none does.
inline std::int64_t read_reach(const fields& f, std::string_view name, const std::vector<bool>& local_layers, std::int64_t fallback) {
  bool any = false;
  for (const bool local : local_layers) any = any || local;
  if (!any) return 0;
  const json_value* value = f.object().find(name);
  if (value && value->is_null()) f.fail(name, "is null, but layer_types names layers that need it");
  return f.whole(name, fallback);
}

/// sliding_window, of all layers; none where it is missing or null.
inline void read_window_of_all(const fields& f, model_config& c) {
  if (!f.find("sliding_window")) return;
  c.window = f.whole("sliding_window");
  c.local_layer.assign(static_cast<std::size_t>(c.layers), true);
}

/// As Qwen's classes say it: use_sliding_window turns the window on, for the layers that layer_types names or else for `by_default`.
template <class Default>
void read_sliding_layers(const fields& f, model_config& c, Default by_default) {
  const bool used = f.truth("use_sliding_window", false);
  const json_value* width = f.object().find("sliding_window");
  const bool anywhere = used && !(width && width->is_null());
  std::vector<bool> fallback;
  for (std::int64_t l = 0; l < c.layers; ++l) fallback.push_back(anywhere && by_default(l));
  c.local_layer = read_local_layers(f, c, "sliding_attention", fallback);
  if (!used)
    for (const bool local : c.local_layer)
      if (local) f.fail("layer_types", "names \"sliding_attention\", but use_sliding_window is not true");
  c.window = read_reach(f, "sliding_window", c.local_layer, 4096);
}

}  // namespace detail
}  // namespace plait::inline v0_1::io
