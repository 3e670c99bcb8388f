#pragma once
// The rotary embedding of a config.json: rope_theta and rope_scaling (transformers 4), rope_parameters (5).
#include "plait/io/config_fields.hpp"
#include "plait/io/model_config.hpp"

namespace plait::inline v0_1::io {
namespace detail {

/// rope_theta, at the top or among rope_parameters; `fallback` where it is in neither.
inline double rope_theta(const fields& config, double fallback) {
  double theta = config.number("rope_theta", 0);
  bool given = config.find("rope_theta") != nullptr;
  if (given && theta <= 0) config.fail("rope_theta", "is not above 0; give the base of the rotary embedding");
  for (const std::string_view name : {"rope_parameters", "rope_scaling"}) {
    const json_value* parameters = config.find(name);
    if (!parameters || parameters->type != json_value::kind::object) continue;
    const fields inner(config.file(), *parameters, std::string(name) + ".");
    if (!inner.find("rope_theta")) continue;
    const double other = inner.number("rope_theta", 0);
    if (other <= 0) inner.fail("rope_theta", "is not above 0; give the base of the rotary embedding");
    if (given && other != theta) config.fail("rope_theta", "and " + std::string(name) + ".rope_theta differ; keep one of them");
    theta = other;
    given = true;
  }
  return given ? theta : fallback;
}

/// A number above 0; `fallback` where the field is missing, which must not be where it is 0.
inline double above_zero(const fields& f, std::string_view name, double fallback = 0) {
  if (!f.find(name) && fallback == 0) f.fail(name, "is missing; this rope_type needs it");
  const double value = f.number(name, fallback);
  if (value <= 0) f.fail(name, "is not above 0");
  return value;
}

/// A number among the rope parameters, under either name of theirs; `fallback` where it is missing, which must not be where it is below 0.
inline double rope_number(const fields& config, std::string_view name, double fallback = -1) {
  std::string_view at = "rope_parameters";
  for (const std::string_view object : {"rope_parameters", "rope_scaling"}) {
    const json_value* parameters = config.find(object);
    if (!parameters || parameters->type != json_value::kind::object) continue;
    at = object;
    const fields inner(config.file(), *parameters, std::string(object) + ".");
    if (inner.find(name)) return inner.number(name, 0);
  }
  if (fallback < 0) config.fail(std::string(at) + "." + std::string(name), "is missing; this family's scaled RoPE needs it");
  return fallback;
}

/// A number above 0 for each of `count` pairs of a head's columns.
inline std::vector<double> pair_factors(const fields& f, std::string_view name, std::int64_t count) {
  const json_value* list = f.find(name);
  if (!list) f.fail(name, "is missing; this rope_type needs it");
  if (list->type != json_value::kind::array) f.wrong(name, *list, "a list of numbers");
  if (static_cast<std::int64_t>(list->items.size()) != count)
    f.fail(name, "has " + std::to_string(list->items.size()) + " entries; a head turns " + std::to_string(count) + " pairs of columns");
  std::vector<double> all;
  for (const json_value& item : list->items) {
    if (!item.is_number()) f.wrong(name, item, "a list of numbers");
    if (!std::isfinite(item.number) || item.number <= 0) f.fail(name, "holds a number that is not above 0");
    all.push_back(item.number);
  }
  return all;
}

/// What the frequencies' scaling goes by beside its own object.
struct rope_facts {
  std::int64_t max_positions = 0, width = 0;  ///< the latter the columns of a head that turn
  std::int64_t original_positions = 0;        ///< original_max_position_embeddings outside of the object, which comes first; 0: not there
};

/// What classes differ in.
struct rope_class {
  bool partial = false;          ///< heads may turn in part
  bool positions_beside = true;  ///< original_max_position_embeddings outside of the object is heeded
};

/// What an object of rope parameters says of its frequencies.
inline rope_scaling read_rope_scaling(const fields& f, const rope_facts& facts, const rope_class& family = {}) {
  using kind = rope_scaling::kind;
  rope_scaling r;
  const std::string_view spelling = f.find("rope_type") ? "rope_type" : "type";
  const std::string type = f.text(spelling, "default");
  if (f.find("type") && f.text("type", "") != type) f.fail("type", "and rope_type differ; keep one of them");
  if (!family.partial && f.number("partial_rotary_factor", 1.0) != 1.0) f.fail("partial_rotary_factor", "is not 1; partial RoPE is not supported in this family");
  if (type == "default") return r;
  if (type != "linear" && type != "dynamic" && type != "llama3" && type != "yarn" && type != "longrope")
    f.fail(spelling, "is " + in_quotes(type, 40) + "; \"default\", \"linear\", \"dynamic\", \"llama3\", \"yarn\" and \"longrope\" are supported");
  r.type = type == "linear" ? kind::linear : type == "dynamic" ? kind::dynamic : type == "llama3" ? kind::llama3 : type == "yarn" ? kind::yarn : kind::longrope;
  r.mscale_all_dim = f.number("mscale_all_dim", 0);
  if (r.type == kind::linear) {
    r.factor = above_zero(f, "factor");
    return r;
  }
  if (r.type == kind::dynamic) {
    if (facts.width <= 2) f.fail(spelling, "is \"dynamic\", which needs heads that turn more than two columns");
    r.factor = above_zero(f, "factor");
    r.original_positions = static_cast<double>(facts.max_positions);
    return r;
  }
  const std::int64_t first_trained = f.whole("original_max_position_embeddings", facts.max_positions);
  r.original_positions = static_cast<double>(facts.original_positions > 0 ? facts.original_positions : first_trained);
  if (r.type == kind::llama3) {
    r.factor = above_zero(f, "factor");
    r.low_frequency = above_zero(f, "low_freq_factor");
    r.high_frequency = above_zero(f, "high_freq_factor");
    if (r.high_frequency < r.low_frequency) f.fail("high_freq_factor", "is below low_freq_factor");
    return r;
  }
  r.factor = above_zero(f, "factor", static_cast<double>(facts.max_positions) / r.original_positions);
  if (r.type == kind::longrope) {
    r.short_factors = pair_factors(f, "short_factor", facts.width / 2);
    r.long_factors = pair_factors(f, "long_factor", facts.width / 2);
    r.attention_factor = above_zero(f, "attention_factor", r.factor <= 1 ? 1 : std::sqrt(1 + std::log(r.factor) / std::log(r.original_positions)));
    return r;
  }
  r.beta_fast = f.number("beta_fast", 32);
  r.beta_slow = f.number("beta_slow", 1);
  if (r.beta_fast == 0) r.beta_fast = 32;  // as its class reads a 0
  if (r.beta_slow == 0) r.beta_slow = 1;
  if (r.beta_fast < 0 || r.beta_slow < 0) f.fail(r.beta_fast < 0 ? "beta_fast" : "beta_slow", "is negative");
  const json_value* truncate = f.object().find("truncate");
  r.truncate = truncate == nullptr || (!truncate->is_null() && f.truth("truncate", true));
  const double mscale = f.number("mscale", 0), all = r.mscale_all_dim;
  r.attention_factor = f.find("attention_factor") ? f.number("attention_factor", 1)
                       : mscale != 0 && all != 0  ? yarn_mscale(r.factor, mscale) / yarn_mscale(r.factor, all)
                                                  : yarn_mscale(r.factor, 1);
  if (r.attention_factor <= 0) f.fail("attention_factor", "is not above 0");
  return r;
}

/// The frequencies' scaling; the heads turn `width` columns.
inline rope_scaling read_rope(const fields& config, std::int64_t max_positions, std::int64_t width, const rope_class& family = {}) {
  if (!family.partial && config.number("partial_rotary_factor", 1.0) != 1.0)
    config.fail("partial_rotary_factor", "is not 1; partial RoPE is not supported in this family");
  const bool beside = family.positions_beside && config.find("original_max_position_embeddings");
  const rope_facts facts{max_positions, width, beside ? config.whole("original_max_position_embeddings") : 0};
  rope_scaling result;
  bool given = false;
  for (const std::string_view name : {"rope_scaling", "rope_parameters"}) {
    const json_value* parameters = config.find(name);
    if (!parameters) continue;
    if (parameters->type != json_value::kind::object) config.wrong(name, *parameters, "an object or null");
    const fields inner(config.file(), *parameters, std::string(name) + ".");
    for (const json_value& value : parameters->items)
      if (value.type == json_value::kind::object)
        config.fail(name, "has parameters per kind of layer; only one set for all layers is supported");
    if (name == "rope_scaling" && !inner.find("rope_type") && !inner.find("type"))
      config.fail(name, "names no rope_type; set the field to null");
    const rope_scaling read = read_rope_scaling(inner, facts, family);
    if (given && !(read == result)) config.fail("rope_scaling", "and rope_parameters differ; keep one of them");
    result = read;
    given = true;
  }
  return result;
}

/// The columns of a head that turn, of a class whose rotary embedding may be partial: those that partial_rotary_factor says, among the
/// rope parameters or else at the top.
inline std::int64_t read_rotary_width(const fields& config, std::int64_t head_dim, double fallback) {
  double factor = config.number("partial_rotary_factor", fallback);
  for (const std::string_view name : {"rope_parameters", "rope_scaling"}) {
    const json_value* parameters = config.find(name);
    if (parameters && parameters->type == json_value::kind::object)
      factor = fields(config.file(), *parameters, std::string(name) + ".").number("partial_rotary_factor", factor);
  }
  if (factor <= 0 || factor > 1) config.fail("partial_rotary_factor", "is not above 0 and at most 1");
  const auto width = static_cast<std::int64_t>(static_cast<double>(head_dim) * factor);
  if (width < 2 || width % 2 != 0)
    config.fail("partial_rotary_factor", "turns " + std::to_string(width) + " of a head's " + std::to_string(head_dim) + " columns; RoPE needs an even number");
  return width;
}

}  // namespace detail
}  // namespace plait::inline v0_1::io
