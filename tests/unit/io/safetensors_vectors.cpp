// Hostile and odd safetensors files with the verdict expected of us and of the reference reader (0.8.0 of the Python
// package). With PLAIT_VECTORS_DIR=FOLDER in the environment the files are also written there, with verdicts.tsv, for
// tests/interop/safetensors_vectors.py, which asks the reference reader itself.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "plait/io/safetensors.hpp"
#include "support.hpp"
#include "support/small.hpp"

using namespace plait::io;
using namespace io_tests;

namespace {

struct vector_case {
  std::string name;
  std::string bytes;
  bool ours;
  bool reference;
};

std::string entry(const std::string& name, const std::string& fields) { return "\"" + name + "\":{" + fields + "}"; }
std::string fields(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + offsets + "]";
}
std::string repeat(const std::string& text, std::size_t n) {
  std::string out;
  out.reserve(text.size() * n);
  for (std::size_t i = 0; i < n; ++i) out += text;
  return out;
}
std::string length_only(std::uint64_t length, std::string_view rest) {
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out += rest;
}

std::vector<vector_case> all_vectors() {
  std::vector<vector_case> all;
  constexpr bool yes = true, no = false;
  const auto raw = [&](std::string name, std::string bytes, bool ours, bool reference) {
    all.push_back({std::move(name), std::move(bytes), ours, reference});
  };
  const auto head = [&](std::string name, const std::string& header, std::size_t data, bool ours, bool reference) {
    raw(std::move(name), safetensors_bytes(header, data), ours, reference);
  };
  const auto both = [&](std::string name, const std::string& header, std::size_t data, bool verdict) {
    head(std::move(name), header, data, verdict, verdict);
  };
  const std::string a4 = entry("a", fields("F32", "1", "0,4"));

  // the length
  raw("file_empty", "", no, no);
  raw("file_seven_bytes", std::string("\x02\0\0\0\0\0\0", 7), no, no);
  raw("length_zero", std::string(8, '\0'), no, no);
  raw("length_zero_with_data", std::string(64, '\0'), no, no);
  raw("length_beyond_file", length_only(10, "{}"), no, no);
  raw("length_one_too_many", length_only(3, "{}"), no, no);
  raw("length_max", length_only(~std::uint64_t{0}, "{}"), no, no);
  raw("length_wraps_with_eight", length_only(~std::uint64_t{0} - 7, "{}"), no, no);
  raw("length_sign_bit", length_only(std::uint64_t{1} << 63, "{}"), no, no);
  raw("length_above_cap", length_only(100'000'001, "{}"), no, no);
  raw("length_cuts_json", length_only(5, "{\"a\":{}}"), no, no);
  raw("length_one_short", length_only(1, "{}"), no, no);
  both("object_empty", "{}", 0, yes);
  both("object_empty_padded", "{}      ", 0, yes);
  both("object_empty_with_data", "{}", 4, no);

  // the text
  both("json_garbage", "hello", 0, no);
  both("json_leading_space", "   {" + a4 + "}", 4, yes);
  both("json_leading_all_kinds", " \t\r\n{" + a4 + "}", 4, yes);
  both("json_trailing_all_kinds", "{" + a4 + "} \t\r\n", 4, yes);
  both("json_trailing_form_feed", "{" + a4 + "}\f", 4, no);
  head("json_trailing_nul", "{" + a4 + "}" + std::string(3, '\0'), 4, no, no);
  head("json_leading_nul", std::string(1, '\0') + "{" + a4 + "}", 4, no, no);
  both("json_trailing_word", "{" + a4 + "}x", 4, no);
  both("json_two_objects", "{}{}", 0, no);
  both("json_list", "[]", 0, no);
  both("json_text", "\"a\"", 0, no);
  both("json_number", "1", 0, no);
  both("json_null", "null", 0, no);
  both("json_spaces_only", "        ", 0, no);
  both("json_byte_order_mark", "\xef\xbb\xbf{" + a4 + "}", 4, no);
  both("json_comment", "{/**/" + a4 + "}", 4, no);
  both("json_trailing_comma", "{" + a4 + ",}", 4, no);
  both("json_single_quotes", "{'a':{}}", 0, no);
  both("json_unterminated", "{" + a4, 4, no);
  both("json_unterminated_text", "{\"a", 0, no);
  both("json_key_without_value", "{\"a\"}", 0, no);
  both("json_raw_newline_in_name", "{" + entry("a\nb", fields("F32", "1", "0,4")) + "}", 4, no);
  both("utf8_broken", "{" + entry("\xff", fields("F32", "1", "0,4")) + "}", 4, no);
  both("utf8_overlong", "{" + entry("\xc0\xaf", fields("F32", "1", "0,4")) + "}", 4, no);
  both("utf8_surrogate", "{" + entry("\xed\xa0\x80", fields("F32", "1", "0,4")) + "}", 4, no);
  both("utf8_cut", "{" + entry("\xe2\x82", fields("F32", "1", "0,4")) + "}", 4, no);
  both("escape_lone_surrogate", "{" + entry("\\ud800", fields("F32", "1", "0,4")) + "}", 4, no);
  both("escape_surrogate_pair", "{" + entry("\\ud83d\\ude00", fields("F32", "1", "0,4")) + "}", 4, yes);
  both("escape_unknown", "{" + entry("\\x41", fields("F32", "1", "0,4")) + "}", 4, no);
  both("nested_too_deep", "{\"a\":" + repeat("[", 200'000) + repeat("]", 200'000) + "}", 0, no);
  both("nested_too_deep_unclosed", repeat("{\"a\":", 100'000), 0, no);
  both("extra_nested_ten", "{" + entry("a", fields("F32", "1", "0,4") + ",\"x\":" + repeat("[", 10) + repeat("]", 10)) + "}", 4,
       yes);

  // names
  both("name_empty", "{" + entry("", fields("F32", "1", "0,4")) + "}", 4, yes);
  both("name_nul", "{" + entry("\\u0000", fields("F32", "1", "0,4")) + "}", 4, yes);
  both("name_path", "{" + entry("../../etc/passwd", fields("F32", "1", "0,4")) + "}", 4, yes);
  both("name_terminal_escape", "{" + entry("\\u001b[2J", fields("F32", "1", "0,4")) + "}", 4, yes);
  both("name_unicode", "{" + entry("\xd0\xb6\xe2\x82\xac", fields("F32", "1", "0,4")) + "}", 4, yes);
  both("name_4096_bytes", "{" + entry(std::string(4096, 'n'), fields("F32", "1", "0,4")) + "}", 4, yes);
  head("name_4097_bytes", "{" + entry(std::string(4097, 'n'), fields("F32", "1", "0,4")) + "}", 4, no, yes);
  head("name_twice_same_data", "{" + a4 + "," + a4 + "}", 4, no, yes);
  both("name_twice_other_data", "{" + a4 + "," + entry("a", fields("F32", "1", "4,8")) + "}", 8, no);
  head("name_twice_escaped", "{" + a4 + "," + entry("\\u0061", fields("F32", "1", "0,4")) + "}", 4, no, yes);
  head("name_twice_zero_size", "{" + entry("z", fields("F32", "0", "0,0")) + "," + entry("z", fields("F32", "0", "0,0")) + "}", 0,
       no, yes);

  // metadata
  both("metadata", "{\"__metadata__\":{\"format\":\"pt\"}," + a4 + "}", 4, yes);
  both("metadata_last", "{" + a4 + ",\"__metadata__\":{\"format\":\"pt\"}}", 4, yes);
  both("metadata_only", "{\"__metadata__\":{\"format\":\"pt\"}}", 0, yes);
  both("metadata_empty", "{\"__metadata__\":{}," + a4 + "}", 4, yes);
  both("metadata_number", "{\"__metadata__\":{\"n\":1}," + a4 + "}", 4, no);
  both("metadata_null_value", "{\"__metadata__\":{\"n\":null}," + a4 + "}", 4, no);
  both("metadata_nested", "{\"__metadata__\":{\"n\":{}}," + a4 + "}", 4, no);
  both("metadata_list", "{\"__metadata__\":[]," + a4 + "}", 4, no);
  both("metadata_text", "{\"__metadata__\":\"x\"," + a4 + "}", 4, no);
  head("metadata_null", "{\"__metadata__\":null," + a4 + "}", 4, no, yes);
  both("metadata_twice", "{\"__metadata__\":{},\"__metadata__\":{}," + a4 + "}", 4, no);
  head("metadata_name_twice", "{\"__metadata__\":{\"n\":\"1\",\"n\":\"2\"}," + a4 + "}", 4, no, yes);
  both("metadata_as_tensor", "{" + entry("__metadata__", fields("F32", "1", "0,4")) + "}", 4, no);

  // the fields of an entry
  both("entry_null", "{\"a\":null}", 0, no);
  both("entry_number", "{\"a\":1}", 0, no);
  both("entry_text", "{\"a\":\"F32\"}", 0, no);
  both("entry_empty", "{\"a\":{}}", 0, no);
  head("entry_as_list", "{\"a\":[\"F32\",[1],[0,4]]}", 4, no, yes);
  both("entry_no_dtype", "{" + entry("a", "\"shape\":[1],\"data_offsets\":[0,4]") + "}", 4, no);
  both("entry_no_shape", "{" + entry("a", "\"dtype\":\"F32\",\"data_offsets\":[0,4]") + "}", 4, no);
  both("entry_no_offsets", "{" + entry("a", "\"dtype\":\"F32\",\"shape\":[1]") + "}", 4, no);
  both("entry_other_order", "{" + entry("a", "\"data_offsets\":[0,4],\"shape\":[1],\"dtype\":\"F32\"") + "}", 4, yes);
  both("entry_dtype_twice", "{" + entry("a", "\"dtype\":\"F32\"," + fields("F32", "1", "0,4")) + "}", 4, no);
  both("entry_shape_twice", "{" + entry("a", "\"shape\":[1]," + fields("F32", "1", "0,4")) + "}", 4, no);
  both("entry_offsets_twice", "{" + entry("a", "\"data_offsets\":[0,4]," + fields("F32", "1", "0,4")) + "}", 4, no);
  both("extra_field", "{" + entry("a", fields("F32", "1", "0,4") + ",\"x\":[1,{\"y\":null}]") + "}", 4, yes);
  head("extra_field_twice", "{" + entry("a", fields("F32", "1", "0,4") + ",\"x\":1,\"x\":2") + "}", 4, no, yes);
  head("extra_inner_name_twice", "{" + entry("a", fields("F32", "1", "0,4") + ",\"x\":{\"y\":1,\"y\":2}") + "}", 4, no, yes);
  both("extra_not_a_number", "{" + entry("a", fields("F32", "1", "0,4") + ",\"x\":NaN") + "}", 4, no);
  both("extra_number_overflow", "{" + entry("a", fields("F32", "1", "0,4") + ",\"x\":1e999") + "}", 4, no);
  both("dtype_unknown", "{" + entry("a", fields("F33", "1", "0,4")) + "}", 4, no);
  both("dtype_lower_case", "{" + entry("a", fields("f32", "1", "0,4")) + "}", 4, no);
  both("dtype_empty", "{" + entry("a", fields("", "1", "0,4")) + "}", 4, no);
  both("dtype_number", "{" + entry("a", "\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]") + "}", 4, no);
  both("dtype_null", "{" + entry("a", "\"dtype\":null,\"shape\":[1],\"data_offsets\":[0,4]") + "}", 4, no);
  both("shape_number", "{" + entry("a", "\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]") + "}", 4, no);
  both("shape_null", "{" + entry("a", "\"dtype\":\"F32\",\"shape\":null,\"data_offsets\":[0,4]") + "}", 4, no);
  both("shape_object", "{" + entry("a", "\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[0,4]") + "}", 4, no);
  for (const char* dimension : {"-1", "-0", "1.0", "1e0", "\"1\"", "null", "true", "[1]", "{}", "18446744073709551616", "01"})
    both("shape_holds_" + std::string(dimension == std::string("\"1\"") ? "text" : dimension),
         "{" + entry("a", fields("F32", dimension, "0,4")) + "}", 4, no);
  both("offsets_one", "{" + entry("a", fields("F32", "1", "0")) + "}", 4, no);
  both("offsets_none", "{" + entry("a", fields("F32", "1", "")) + "}", 4, no);
  both("offsets_three", "{" + entry("a", fields("F32", "1", "0,4,8")) + "}", 4, no);
  both("offsets_negative", "{" + entry("a", fields("F32", "1", "-4,0")) + "}", 4, no);
  both("offsets_fraction", "{" + entry("a", fields("F32", "1", "0,4.0")) + "}", 4, no);
  both("offsets_text", "{" + entry("a", fields("F32", "1", "0,\"4\"")) + "}", 4, no);
  both("offsets_backwards", "{" + entry("a", fields("F32", "1", "4,0")) + "}", 4, no);
  both("offsets_backwards_zero", "{" + entry("a", fields("F32", "0", "4,0")) + "}", 4, no);
  both("offsets_huge", "{" + entry("a", fields("U8", "1", "18446744073709551614,18446744073709551615")) + "}", 1, no);
  both("offsets_object", "{" + entry("a", "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{}") + "}", 4, no);

  // coverage and size
  both("one_tensor", "{" + a4 + "}", 4, yes);
  both("one_tensor_unpadded", "{" + entry("ab", fields("F32", "1", "0,4")) + "}", 4, yes);
  both("scalar", "{" + entry("a", fields("F32", "", "0,4")) + "}", 4, yes);
  both("scalar_of_no_bytes", "{" + entry("a", fields("F32", "", "0,0")) + "}", 0, no);
  both("zero_size", "{" + entry("a", fields("F32", "0", "0,0")) + "}", 0, yes);
  both("zero_size_between",
       "{" + a4 + "," + entry("z", fields("F32", "3,0", "4,4")) + "," + entry("b", fields("F32", "1", "4,8")) + "}", 8, yes);
  both("zero_size_inside", "{" + a4 + "," + entry("z", fields("F32", "0", "2,2")) + "}", 4, no);
  both("zero_size_behind_end", "{" + a4 + "," + entry("z", fields("F32", "0", "8,8")) + "}", 4, no);
  both("order_backwards", "{" + entry("b", fields("F32", "1", "4,8")) + "," + a4 + "}", 8, yes);
  both("hole_at_start", "{" + entry("a", fields("F32", "1", "4,8")) + "}", 8, no);
  both("hole_in_middle", "{" + a4 + "," + entry("b", fields("F32", "1", "8,12")) + "}", 12, no);
  both("overlap", "{" + a4 + "," + entry("b", fields("F32", "1", "2,6")) + "}", 6, no);
  both("overlap_whole", "{" + a4 + "," + entry("b", fields("F32", "1", "0,4")) + "}", 4, no);
  both("data_one_byte_more", "{" + a4 + "}", 5, no);
  both("data_polyglot_tail", "{" + a4 + "}", 4096, no);
  both("data_two_bytes_less", "{" + a4 + "}", 2, no);
  both("data_missing", "{" + a4 + "}", 0, no);
  both("size_too_small", "{" + entry("a", fields("F32", "2", "0,4")) + "}", 4, no);
  both("size_too_large", "{" + entry("a", fields("F32", "1", "0,8")) + "}", 8, no);
  both("overflow_product", "{" + entry("a", fields("U8", "4294967296,4294967296,1", "0,0")) + "}", 0, no);
  both("overflow_product_to_four", "{" + entry("a", fields("U8", "4294967297,4294967296", "0,4294967296")) + "}", 0, no);
  both("overflow_bits", "{" + entry("a", fields("F64", "288230376151711744", "0,0")) + "}", 0, no);
  both("overflow_bits_to_four", "{" + entry("a", fields("F32", "4611686018427387905", "0,4")) + "}", 4, no);
  both("overflow_before_zero", "{" + entry("a", fields("F32", "4294967296,4294967296,0", "0,0")) + "}", 0, no);
  both("overflow_after_zero", "{" + entry("a", fields("F32", "0,4294967296,4294967296", "0,0")) + "}", 0, yes);
  both("dimension_above_63_bits", "{" + entry("a", fields("F32", "0,18446744073709551615", "0,0")) + "}", 0, yes);
  both("rank_nine", "{" + entry("a", fields("F32", "1,1,1,1,1,1,1,1,1", "0,4")) + "}", 4, yes);
  both("rank_100000", "{" + entry("a", fields("F32", repeat("1,", 99'999) + "1", "0,4")) + "}", 4, yes);

  // types
  for (const element_facts& type : element_table) {
    const std::string bytes = std::to_string(type.bits);  // 8 elements: as many bytes as one has bits
    both(std::string("type_") + type.name, "{" + entry("a", fields(type.name, "8", "0," + bytes)) + "}", type.bits, yes);
  }
  both("type_F4_odd", "{" + entry("a", fields("F4", "3", "0,2")) + "}", 2, no);
  both("type_F4_odd_rounded_down", "{" + entry("a", fields("F4", "3", "0,1")) + "}", 1, no);
  both("type_F6_four", "{" + entry("a", fields("F6_E2M3", "4", "0,3")) + "}", 3, yes);
  both("type_F6_two", "{" + entry("a", fields("F6_E3M2", "2", "0,2")) + "}", 2, no);
  return all;
}

long peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

}  // namespace

TEST_CASE("hostile safetensors files get the verdict of the table") {
  const scratch folder;
  const char* keep = std::getenv("PLAIT_VECTORS_DIR");
  std::ofstream list;
  if (keep) {
    fs::create_directories(keep);
    list.open(std::string(keep) + "/verdicts.tsv");
  }
  const std::vector<vector_case> vectors = all_vectors();
  CHECK(vectors.size() >= 87);
  std::size_t number = 0, stricter = 0;
  for (const vector_case& vector : vectors) {
    CAPTURE(vector.name);
    const std::string path = folder.file("v.safetensors");
    write(path, vector.bytes);
    bool accepted = false;
    const auto message = refusal([&] {
      safetensors_file file(path);
      accepted = true;
      // whatever opens can be listed and, when it can be loaded, read
      for (const tensor_entry& tensor : file.entries()) {
        CHECK(file.find(tensor.name) == &tensor);
        std::vector<char> data(static_cast<std::size_t>(tensor.bytes()));
        file.read(tensor, data.data());
      }
    });
    CHECK_MESSAGE(accepted == vector.ours, vector.name << ": " << message.value_or("accepted"));
    CHECK(accepted == !message.has_value());
    if (message) CHECK_MESSAGE(message->starts_with(path + ": "), *message);
    stricter += vector.ours != vector.reference;
    CHECK_FALSE((vector.ours && !vector.reference));  // never laxer than the reference
    if (keep) {
      const std::string name = std::to_string(1000 + number++).substr(1) + ".safetensors";
      write(std::string(keep) + "/" + name, vector.bytes);
      list << name << '\t' << vector.name << '\t' << (vector.ours ? "accept" : "refuse") << '\t'
           << (vector.reference ? "accept" : "refuse") << '\n';
    }
  }
  MESSAGE(vectors.size() << " vectors, stricter than the reference in " << stricter);
}

TEST_CASE("refusals name what is wrong") {
  const scratch folder;
  const std::string path = folder.file("v.safetensors");
  const auto message = [&](const std::string& header, std::size_t data) {
    write(path, safetensors_bytes(header, data));
    return refusal([&] { safetensors_file file(path); });
  };
  CHECK(contains(message("{" + entry("w.q", fields("F32", "2", "0,4")) + "}", 4),
                 "tensor \"w.q\": shape and dtype need 8 bytes, data_offsets give 4"));
  CHECK(contains(message("{" + entry("w", fields("F32", "1", "4,8")) + "}", 8), "tensor \"w\": leaves a hole of 4 bytes"));
  CHECK(contains(message("{" + entry("w", fields("F32", "1", "0,4")) + "}", 9), "followed by 5 bytes"));
  CHECK(contains(message("{" + entry("w", fields("Q4", "1", "0,4")) + "}", 4), "dtype \"Q4\" is unknown"));
  // a name that would clear the terminal or break the line is escaped, a long one is cut
  const auto evil = message("{" + entry("\\u001b[2J\\nx", fields("F32", "2", "0,4")) + "}", 4);
  CHECK(contains(evil, "\"\\x1b[2J\\x0ax\""));
  CHECK(message("{" + entry(std::string(4000, 'n'), fields("F32", "2", "0,4")) + "}", 4)->size() < 600);
  CHECK(contains(refusal([&] { safetensors_file file(folder.file("nowhere")); }), "cannot be opened"));
  CHECK(contains(refusal([&] { safetensors_file file(folder.path); }), "not a regular file"));
  REQUIRE(::mkfifo(folder.file("pipe").c_str(), 0600) == 0);
  CHECK(contains(refusal([&] { safetensors_file file(folder.file("pipe")); }), "not a regular file"));
}

TEST_CASE("what is accepted with a warning, and what opens but does not load") {
  const scratch folder;
  const std::string path = folder.file("v.safetensors");
  write(path, safetensors_bytes("{" + entry("a", fields("F32", "1", "0,4") + ",\"x\":{\"deep\":[1]}") + "}", 4));
  safetensors_file extra(path);
  REQUIRE(extra.warnings().size() == 1);
  CHECK(extra.warnings()[0] == "tensor \"a\" has an unknown field \"x\", ignored");

  write(path, safetensors_bytes("{" + entry("a", fields("F32", "1,1,1,1,1,1,1,1,1", "0,4")) + "}", 4));
  safetensors_file deep(path);
  const tensor_entry* a = deep.find("a");
  REQUIRE(a);
  CHECK(a->rank == 9);
  CHECK_FALSE(a->loadable);
  float value = 1;
  const std::vector<std::int64_t> start(9, 0), count(9, 1);
  CHECK(contains(refusal([&] { deep.read_box(*a, start, count, &value); }), "9 dimensions; at most 8"));
}

TEST_CASE("a header of a hundred megabytes is refused in bounded time and memory" * doctest::skip(plait::small_tests())) {
  const scratch folder;
  const std::string path = folder.file("bomb.safetensors");
  {
    std::string header = "{";
    header.reserve(100'000'000);
    for (int i = 0; header.size() < 99'900'000; ++i) {
      if (i > 0) header += ',';
      header += "\"" + std::to_string(i) + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
    }
    header += '}';
    write(path, safetensors_bytes(header));
  }
  const long before = peak_megabytes();
  const auto from = std::chrono::steady_clock::now();
  const auto message = refusal([&] { safetensors_file file(path); });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - from;
  CHECK(contains(message, "more than 1000000 tensors"));
  MESSAGE("refused after " << seconds.count() << " s, peak memory " << before << " MB before, " << peak_megabytes()
                           << " MB after");
}
