// Choosing tokens: ties, top-k, top-p, the distribution that is drawn from, what is not finite.
#include "plait/model/sampling.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <map>

using namespace plait;

namespace {
const std::vector<float> logits = {1.0f, 3.0f, 2.0f, 3.0f, 0.0f};
constexpr float infinite = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

/// How often each token is drawn in n positions.
std::map<std::int64_t, int> drawn(const std::vector<float>& from, const sampling_options& o, int n) {
  std::map<std::int64_t, int> count;
  for (int i = 0; i < n; ++i) ++count[sample_token(from, o, 3, static_cast<std::uint64_t>(i))];
  return count;
}
}  // namespace

TEST_CASE("greedy takes the largest, of equal ones the lower id") {
  CHECK(greedy_token(logits) == 1);
  CHECK(sample_token(logits, {}, 0, 0) == 1);
  CHECK(greedy_token(std::vector<float>{-infinite, -5.0f, -infinite}) == 1);
}

TEST_CASE("a row that is not finite has no token") {
  CHECK(greedy_token(std::vector<float>{}) == -1);
  CHECK(greedy_token(std::vector<float>{1.0f, nan_value}) == -1);
  CHECK(greedy_token(std::vector<float>{1.0f, infinite}) == -1);
  CHECK(greedy_token(std::vector<float>{-infinite, -infinite}) == -1);
  CHECK(sample_token(std::vector<float>{nan_value, 1.0f}, {0.8, 0, 1, 1}, 0, 0) == -1);
}

TEST_CASE("tokens are drawn as often as the softmax says") {
  for (const double temperature : {0.5, 1.0, 2.0}) {
    const int n = 40000;
    std::map<std::int64_t, int> count = drawn(logits, {temperature, 0, 1, 11}, n);
    double total = 0;
    for (const float l : logits) total += std::exp(static_cast<double>(l) / temperature);
    for (std::int64_t i = 0; i < 5; ++i) {
      const double p = std::exp(static_cast<double>(logits[static_cast<std::size_t>(i)]) / temperature) / total;
      CAPTURE(temperature);
      CAPTURE(i);
      CHECK(std::abs(count[i] - p * n) <= 4 * std::sqrt(p * (1 - p) * n) + 1);
    }
  }
}

TEST_CASE("top-k keeps exactly k, of equal ones the lower ids") {
  CHECK(drawn(logits, {1.0, 1, 1, 5}, 200).size() == 1);
  CHECK(drawn(logits, {1.0, 1, 1, 5}, 200).begin()->first == 1);
  const auto two = drawn(logits, {5.0, 2, 1, 5}, 400);
  CHECK(two.size() == 2);
  CHECK(two.count(1) == 1);
  CHECK(two.count(3) == 1);
  CHECK(drawn(logits, {5.0, 9, 1, 5}, 4000).size() == 5);
}

TEST_CASE("top-p keeps the fewest tokens that reach the share, and always one") {
  // probabilities 0.4, 0.3, 0.2, 0.1
  const std::vector<float> p = {std::log(0.1f), std::log(0.4f), std::log(0.3f), std::log(0.2f)};
  CHECK(drawn(p, {1.0, 0, 1e-9, 5}, 400).size() == 1);
  CHECK(drawn(p, {1.0, 0, 0.39, 5}, 400).size() == 1);
  CHECK(drawn(p, {1.0, 0, 0.5, 5}, 400).size() == 2);
  CHECK(drawn(p, {1.0, 0, 0.69, 5}, 400).size() == 2);
  CHECK(drawn(p, {1.0, 0, 0.71, 5}, 400).size() == 3);
  CHECK(drawn(p, {1.0, 0, 0.71, 5}, 400).count(0) == 0);
  CHECK(drawn(p, {1.0, 0, 0.91, 5}, 4000).size() == 4);
  // After top-k: of {0.4, 0.3} the first has a share of 0.57.
  CHECK(drawn(p, {1.0, 2, 0.56, 5}, 400).size() == 1);
  CHECK(drawn(p, {1.0, 2, 0.58, 5}, 400).size() == 2);
}

TEST_CASE("a draw is a function of seed, row and position") {
  const sampling_options o{1.0, 0, 1, 9};
  std::vector<std::int64_t> first, again, other_row, other_seed;
  for (std::uint64_t i = 0; i < 50; ++i) {
    first.push_back(sample_token(logits, o, 0, i));
    other_row.push_back(sample_token(logits, o, 1, i));
    other_seed.push_back(sample_token(logits, {1.0, 0, 1, 10}, 0, i));
  }
  for (std::uint64_t i = 50; i-- > 0;) again.insert(again.begin(), sample_token(logits, o, 0, i));
  CHECK(first == again);
  CHECK(first != other_row);
  CHECK(first != other_seed);
}
