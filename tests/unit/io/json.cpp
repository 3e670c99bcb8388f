// The JSON parser (defined in this file for the whole test program), strings and numbers.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include "plait/io/implementation.hpp"
#include "plait/io/json_lines.hpp"
#include "support.hpp"

using namespace plait::io;
using namespace io_tests;

TEST_CASE("printable never lets through what could harm a terminal") {
  CHECK(printable("model.layers.0") == "model.layers.0");
  CHECK(printable(std::string("a\0b\n\x1b\x7f", 6)) == "a\\x00b\\x0a\\x1b\\x7f");
  CHECK(printable("\xff\xc0\xaf") == "\\xff\\xc0\\xaf");
  CHECK(printable("\xc3\xa9\xe2\x82\xac") == "\xc3\xa9\xe2\x82\xac");  // letters stay
  CHECK(printable("\xe2\x80\xae"
                  "cba") ==
        "\\xe2\\x80\\xae"
        "cba");  // right-to-left override
  CHECK(printable("a\\b") == "a\\\\b");
  CHECK(printable(std::string(1000, 'x'), 20) == std::string(20, 'x') + "...");
  CHECK(std::string(input_error("f\n", "field", "two\nlines").what()) == "f\\x0a: field: two lines");
}

TEST_CASE("the tree is strict") {
  const auto tree = [](std::string_view text) { return parse_json_tree("f", text); };
  const json_value value = tree(R"({"a":[1,-2,0.5,true,null,"x"],"b":{"c":18446744073709551615}})");
  REQUIRE(value.find("a"));
  CHECK(value.find("a")->items.size() == 6);
  CHECK(value.find("a")->items[1].negative == -2);
  CHECK(value.find("b")->find("c")->natural == std::numeric_limits<std::uint64_t>::max());
  CHECK(value.find("c") == nullptr);
  for (const char* bad :
       {"", "{", "{\"a\":1,}", "{\"a\":NaN}", "{'a':1}", "{\"a\":1}x", "\xef\xbb\xbf{}", "// c\n{}", "{\"a\":1e999}"})
    CHECK_MESSAGE(refusal([&] { tree(bad); }), bad);
  CHECK(contains(refusal([&] { tree(std::string("{}\0{}", 5)); }), "NUL byte at byte 2"));
  CHECK(contains(refusal([&] { tree(R"({"x":{"a":1,"b":2,"a":3}})"); }), "field \"a\": appears twice"));
  CHECK(contains(refusal([&] { tree(std::string(40, '[') + std::string(40, ']')); }), "nested too deep"));
  CHECK(contains(refusal([&] { tree(std::string(200'000, '[')); }), "nested too deep"));
  std::string many = "[0";
  for (int i = 0; i < 100'000; ++i) many += ",0";
  CHECK(contains(refusal([&] { tree(many + "]"); }), "too many fields"));
}

TEST_CASE("JSON lines: order, escapes, numbers that read back to the same bits") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  json_line line;
  line.add("step", 3).add("loss", 4.57078742980957).add("float", 0.1f).add("bad", nan).add("worse", -infinity).add("yes", true);
  line.add("text", "a\"b\\\n\x01\xc3\xa9").add("ids", std::vector<std::int64_t>{1, -2}).add("inner", json_line().add("x", 0.5));
  line.add("nothing", nullptr).add("none", std::vector<double>{}).add_raw("raw", "[1]").add(std::string("k\n"), std::string("v"));
  CHECK(line.text() == R"({"step":3,"loss":4.57078742980957,"float":0.10000000149011612,"bad":null,"worse":null,"yes":true,)"
                       R"("text":"a\"b\\\n\u0001)"
                       "\xc3\xa9"
                       R"(","ids":[1,-2],"inner":{"x":0.5},"nothing":null,"none":[],"raw":[1],"k\n":"v"})");
  CHECK(json_line().text() == "{}");

  std::uint64_t state = 1;
  for (int i = 0; i < 20'000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double value = std::bit_cast<double>(state ^ (state >> 29));
    if (!std::isfinite(value)) continue;
    const std::string text = json_line().add("x", value).text();
    const json_value back = parse_json_tree("f", text);
    REQUIRE(std::bit_cast<std::uint64_t>(back.items[0].number) == std::bit_cast<std::uint64_t>(value));
  }

  const scratch folder;
  {
    json_lines_file file(folder.file("log.jsonl"));
    file.write(json_line().add("step", 1));
    CHECK(slurp(folder.file("log.jsonl")) == "{\"step\":1}\n");  // flushed
    file.write(json_line().add("step", 2));
  }
  CHECK(slurp(folder.file("log.jsonl")) == "{\"step\":1}\n{\"step\":2}\n");
  CHECK_THROWS_AS(json_lines_file(folder.file("no/log.jsonl")), output_error);
}
