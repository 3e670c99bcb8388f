// First positions of windows and chunks, in segments and behind a cache; the scale of queries by position.
#include "plait/model/local_attention.hpp"

#include <doctest/doctest.h>

using namespace plait;

TEST_CASE("windows and chunks begin within their segments") {
  batch b = batch::of(2, 6, std::vector<std::int64_t>(12, 1));
  b.segment_start = {0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2};  // the second row has two tokens of padding on the left
  io::model_config c;
  c.window = 3;
  CHECK(local_starts(b, 0, c) == std::vector<std::int32_t>{0, 0, 0, 1, 2, 3, 0, 1, 2, 2, 2, 3});
  c.window = 0, c.chunk = 2;
  CHECK(local_starts(b, 0, c) == std::vector<std::int32_t>{0, 0, 2, 2, 4, 4, 0, 1, 2, 2, 4, 4});
  batch next = batch::of(2, 1, {1, 1});
  next.segment_start = {0, 3};
  CHECK(local_starts(next, 10, c) == std::vector<std::int32_t>{10, 9});
  c.window = 4, c.chunk = 0;
  CHECK(local_starts(next, 10, c) == std::vector<std::int32_t>{7, 7});
}

TEST_CASE("queries grow with the logarithm of their position") {
  batch b = batch::of(1, 5, {1, 1, 1, 1, 1});
  io::model_config c;
  c.temperature_scale = 0.1, c.temperature_floor = 2;
  const std::vector<double> t = temperatures<double>(b, 4, c);
  REQUIRE(t.size() == 10);
  CHECK(t[0] == 1);
  CHECK(t[2] == doctest::Approx(1 + 0.1 * std::log(2.0)));
  CHECK(t[9] == doctest::Approx(1 + 0.1 * std::log(3.0)));
}
