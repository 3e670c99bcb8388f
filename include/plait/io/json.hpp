#pragma once
// Reading JSON: an event interface, a strict parser behind it, and a small bounded tree. The parser itself (nlohmann's
// SAX parser) is defined in implementation.hpp, which one .cpp of a program includes; nothing here includes nlohmann.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/io/error.hpp"

namespace plait::inline v0_1::io {

/// What a parser reports. A handler stops the parser by throwing input_error.
struct json_events {
  virtual ~json_events() = default;
  virtual void null() = 0;
  virtual void boolean(bool value) = 0;
  virtual void natural(std::uint64_t value) = 0;  ///< an integer without a sign
  virtual void negative(std::int64_t value) = 0;  ///< an integer with a minus sign (also -0)
  virtual void real(double value) = 0;            ///< anything with a point, an exponent, or too large for 64 bits
  virtual void string(std::string& value) = 0;
  virtual void begin_object() = 0;
  virtual void key(std::string& name) = 0;
  virtual void end_object() = 0;
  virtual void begin_array() = 0;
  virtual void end_array() = 0;
};

/// Parses `text` (whole, strict JSON, UTF-8, no byte-order mark, no comments, at most `depth` brackets deep) and reports
/// it to `events`. Throws input_error naming `file` and `field`. Defined in implementation.hpp.
template <class = void>
void parse_json(std::string_view file, std::string_view field, std::string_view text, int depth, json_events& events);

/// A bounded JSON tree for small files (config.json): never used for safetensors headers.
struct json_value {
  enum class kind : std::uint8_t { null, boolean, natural, negative, real, string, array, object };
  kind type = kind::null;
  bool flag = false;
  std::uint64_t natural = 0;
  std::int64_t negative = 0;
  double number = 0;  ///< for every numeric kind
  std::string text;
  std::vector<json_value> items;  ///< of a list, or the values of an object
  std::vector<std::string> keys;  ///< of an object: the name of each item

  bool is_null() const { return type == kind::null; }
  bool is_number() const { return type == kind::natural || type == kind::negative || type == kind::real; }
  /// The member of that name, or null pointer.
  const json_value* find(std::string_view name) const {
    for (std::size_t i = 0; i < keys.size(); ++i)
      if (keys[i] == name) return &items[i];
    return nullptr;
  }
  const char* kind_name() const {
    switch (type) {
      case kind::null:
        return "null";
      case kind::boolean:
        return "true or false";
      case kind::natural:
        return "a number";
      case kind::negative:
        return "a negative number";
      case kind::real:
        return "a number with a fraction";
      case kind::string:
        return "a text";
      case kind::array:
        return "a list";
      case kind::object:
        return "an object";
    }
    return "?";
  }
};

namespace detail {

inline void refuse_duplicates(std::string_view file, std::vector<std::string_view>& keys) {
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice != keys.end()) throw input_error(file, "field " + in_quotes(*twice), "appears twice in one object; keep one of them");
}

struct tree_builder final : json_events {
  std::string_view file;
  std::size_t room;  // how many more nodes may be made
  json_value root;
  std::vector<json_value*> open;
  std::string name;

  tree_builder(std::string_view f, std::size_t nodes) : file(f), room(nodes) {}

  json_value& add() {
    if (room-- == 0) throw input_error(file, "", "has too many fields; this is no model configuration");
    if (open.empty()) return root;
    json_value& parent = *open.back();
    if (parent.type == json_value::kind::object) parent.keys.push_back(std::move(name));
    return parent.items.emplace_back();
  }
  void null() override { add(); }
  void boolean(bool value) override {
    json_value& v = add();
    v.type = json_value::kind::boolean;
    v.flag = value;
  }
  void natural(std::uint64_t value) override {
    json_value& v = add();
    v.type = json_value::kind::natural;
    v.natural = value;
    v.number = static_cast<double>(value);
  }
  void negative(std::int64_t value) override {
    json_value& v = add();
    v.type = json_value::kind::negative;
    v.negative = value;
    v.number = static_cast<double>(value);
  }
  void real(double value) override {
    json_value& v = add();
    v.type = json_value::kind::real;
    v.number = value;
  }
  void string(std::string& value) override {
    json_value& v = add();
    v.type = json_value::kind::string;
    v.text = std::move(value);
  }
  void begin_object() override { begin(json_value::kind::object); }
  void begin_array() override { begin(json_value::kind::array); }
  void begin(json_value::kind type) {
    json_value& v = add();
    v.type = type;
    open.push_back(&v);  // stays valid: the parent's list grows only after this one is closed
  }
  void key(std::string& value) override { name = std::move(value); }
  void end_object() override {
    std::vector<std::string_view> keys(open.back()->keys.begin(), open.back()->keys.end());
    refuse_duplicates(file, keys);
    open.pop_back();
  }
  void end_array() override { open.pop_back(); }
};

}  // namespace detail

/// Parses a small file into a tree: at most 32 brackets deep and 100,000 values; duplicate names are refused.
inline json_value parse_json_tree(std::string_view file, std::string_view text) {
  detail::tree_builder builder(file, 100'000);
  parse_json(file, "", text, 32, builder);
  return std::move(builder.root);
}

/// Appends `text` as a JSON string with its quotes. The input must be UTF-8; broken bytes become U+FFFD.
inline void append_json_string(std::string& out, std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  out += '"';
  while (!text.empty()) {
    std::uint32_t code = 0;
    const std::size_t length = utf8_sequence(text, code);
    if (length == 0) {
      out += "\xef\xbf\xbd";
      text.remove_prefix(1);
      continue;
    }
    switch (code) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (code < 0x20) {
          out += "\\u00";
          out += digits[(code >> 4) & 15u];
          out += digits[code & 15u];
        } else {
          out.append(text.substr(0, length));
        }
    }
    text.remove_prefix(length);
  }
  out += '"';
}

}  // namespace plait::inline v0_1::io
