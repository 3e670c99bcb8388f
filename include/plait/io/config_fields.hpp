#pragma once
// Typed access to config.json: one function a kind of value, each refusal one line that names file and field.
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/io/error.hpp"
#include "plait/io/json.hpp"

namespace plait::inline v0_1::io {
namespace detail {

/// Typed access to the fields of one object of config.json, with the sentences of its refusals.
class fields {
 public:
  fields(std::string_view file, const json_value& object, std::string prefix = {})
      : file_(file), object_(object), prefix_(std::move(prefix)) {}

  /// The field, or null pointer where it is missing or null.
  const json_value* find(std::string_view name) const {
    const json_value* value = object_.find(name);
    return value && !value->is_null() ? value : nullptr;
  }
  [[noreturn]] void fail(std::string_view name, std::string_view problem) const {
    throw input_error(file_, "field " + in_quotes(prefix_ + std::string(name), 80), problem);
  }
  [[noreturn]] void wrong(std::string_view name, const json_value& value, std::string_view wanted) const {
    fail(name, std::string("is ") + value.kind_name() + "; " + std::string(wanted) + " belongs here");
  }

  static constexpr std::int64_t required = -1;
  /// A whole number in [least, 2^31]; `fallback` where the field is missing (or `required`).
  std::int64_t whole(std::string_view name, std::int64_t fallback = required, std::int64_t least = 1) const {
    const json_value* value = find(name);
    if (!value) {
      if (fallback == required) fail(name, "is missing; add it (a whole number)");
      return fallback;
    }
    return whole_value(name, *value, least);
  }
  std::int64_t whole_value(std::string_view name, const json_value& value, std::int64_t least) const {
    constexpr std::int64_t most = std::int64_t{1} << 31;
    if (value.type == json_value::kind::negative) fail(name, "is " + std::to_string(value.negative) + "; it cannot be negative");
    if (value.type == json_value::kind::real) wrong(name, value, "a whole number up to 2^31");
    if (value.type != json_value::kind::natural) wrong(name, value, "a whole number");
    if (value.natural > static_cast<std::uint64_t>(most))
      fail(name, "is " + std::to_string(value.natural) + "; at most 2^31 is possible");
    const auto n = static_cast<std::int64_t>(value.natural);
    if (n < least) fail(name, "is " + std::to_string(n) + "; it must be at least " + std::to_string(least));
    return n;
  }
  /// A whole number that may be below zero.
  std::int64_t whole_or_negative(std::string_view name, std::int64_t fallback) const {
    const json_value* value = find(name);
    if (value && value->type == json_value::kind::negative) return value->negative;
    return value ? whole_value(name, *value, 0) : fallback;
  }
  /// A whole number above zero, or a list with one for every layer: then each of these, else none.
  std::vector<std::int64_t> by_layer(std::string_view name, std::int64_t layers) const {
    const json_value* value = find(name);
    if (!value || value->type != json_value::kind::array) return {};
    if (static_cast<std::int64_t>(value->items.size()) < layers)
      fail(name, "has " + std::to_string(value->items.size()) + " entries for " + std::to_string(layers) + " layers");
    std::vector<std::int64_t> all;
    for (std::int64_t l = 0; l < layers; ++l) all.push_back(whole_value(name, value->items[static_cast<std::size_t>(l)], 1));
    return all;
  }
  double number(std::string_view name, double fallback) const {
    const json_value* value = find(name);
    if (!value) return fallback;
    if (!value->is_number()) wrong(name, *value, "a number");
    if (!std::isfinite(value->number)) fail(name, "is not a finite number");
    return value->number;
  }
  bool truth(std::string_view name, bool fallback) const {
    const json_value* value = find(name);
    if (!value) return fallback;
    if (value->type != json_value::kind::boolean) wrong(name, *value, "true or false");
    return value->flag;
  }
  /// The same where a class only asks whether the field holds: null does not.
  bool given_truth(std::string_view name, bool fallback) const { return object_.find(name) ? truth(name, false) : fallback; }
  std::string text(std::string_view name, std::string_view fallback) const {
    const json_value* value = find(name);
    if (!value) return std::string(fallback);
    if (value->type != json_value::kind::string) wrong(name, *value, "a text");
    return value->text;
  }
  /// A number, a list of numbers, null, or nothing.
  std::vector<std::int64_t> numbers(std::string_view name) const {
    const json_value* value = find(name);
    if (!value) return {};
    if (value->type != json_value::kind::array) return {whole_value(name, *value, 0)};
    std::vector<std::int64_t> all;
    for (const json_value& item : value->items) all.push_back(whole_value(name, item, 0));
    return all;
  }
  /// One of two spellings of the same field; both must agree where both are there.
  std::int64_t either(std::string_view first, std::string_view second, std::int64_t fallback = required) const {
    const json_value* a = find(first);
    const json_value* b = find(second);
    if (!a && !b && fallback == required)
      fail(first, "is missing, and so is field " + in_quotes(second) + "; add one of them (a whole number)");
    if (a && b && whole_value(first, *a, 1) != whole_value(second, *b, 1))
      fail(first, "and field " + in_quotes(second) + " differ; keep one of them");
    return whole(b && !a ? second : first, fallback);
  }
  /// Must be zero (or missing): something the library does not do.
  void must_be_zero(std::string_view name, std::string_view why) const {
    const double value = number(name, 0);
    if (value != 0) fail(name, std::string(why));
  }
  const json_value& object() const { return object_; }
  std::string_view file() const { return file_; }

 private:
  std::string_view file_;
  const json_value& object_;
  std::string prefix_;
};

}  // namespace detail
}  // namespace plait::inline v0_1::io
