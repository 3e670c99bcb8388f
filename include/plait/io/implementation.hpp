#pragma once
// What plait/io takes from other libraries: the JSON parser (nlohmann's SAX parser), digests (xxHash) and, where it is found,
// sentencepiece. Include this in ONE .cpp file of a program that reads models; every other file includes only the headers it needs,
// none of which includes any of them.
#include <xxhash.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "plait/io/error.hpp"
#include "plait/io/hash.hpp"
#include "plait/io/json.hpp"
#include "plait/io/sentencepiece_tokenizer.hpp"

namespace plait::inline v0_1::io {

namespace detail {

struct nlohmann_adapter {
  std::string_view file;
  std::string_view field;
  json_events& events;
  int depth_left;

  bool null() { return events.null(), true; }
  bool boolean(bool value) { return events.boolean(value), true; }
  bool number_integer(std::int64_t value) { return events.negative(value), true; }
  bool number_unsigned(std::uint64_t value) { return events.natural(value), true; }
  bool number_float(double value, const std::string&) { return events.real(value), true; }
  bool string(std::string& value) { return events.string(value), true; }
  bool binary(nlohmann::json::binary_t&) { return false; }
  bool start_object(std::size_t) {
    deeper();
    return events.begin_object(), true;
  }
  bool key(std::string& name) { return events.key(name), true; }
  bool end_object() {
    ++depth_left;
    return events.end_object(), true;
  }
  bool start_array(std::size_t) {
    deeper();
    return events.begin_array(), true;
  }
  bool end_array() {
    ++depth_left;
    return events.end_array(), true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) {
    throw input_error(file, field, "is not valid JSON at byte " + std::to_string(position) + "; write it again");
  }
  void deeper() {
    if (depth_left-- == 0) throw input_error(file, field, "is nested too deep; this is no file of a model");
  }
};

}  // namespace detail

template <class>
void parse_json(std::string_view file, std::string_view field, std::string_view text, int depth, json_events& events) {
  // Two things that nlohmann forgives and we do not: a byte-order mark, and a NUL byte, which it takes for the end.
  if (text.substr(0, 3) == "\xef\xbb\xbf")
    throw input_error(file, field, "begins with a byte-order mark; save it as UTF-8 without one");
  if (const std::size_t at = text.find('\0'); at != std::string_view::npos)
    throw input_error(file, field, "holds a NUL byte at byte " + std::to_string(at) + "; this is no JSON");
  detail::nlohmann_adapter adapter{file, field, events, depth};
  const bool whole =
      nlohmann::json::sax_parse(text.begin(), text.end(), &adapter, nlohmann::json::input_format_t::json, true, false);
  if (!whole) throw input_error(file, field, "is not valid JSON");
}

template <class>
digest digest_of(const void* data, std::size_t count) {
  const XXH128_hash_t hash = XXH3_128bits(data, count);
  return {hash.high64, hash.low64};
}

template digest digest_of<void>(const void*, std::size_t);
template void parse_json<void>(std::string_view, std::string_view, std::string_view, int, json_events&);

}  // namespace plait::inline v0_1::io
