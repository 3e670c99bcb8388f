// Values on the host: a block as it lies, one number with what is pending reduced.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "plait/comm/rank_threads.hpp"
#include "plait/ops/constant.hpp"
#include "plait/ops/leaf.hpp"
#include "plait/ops/loss.hpp"
#include "plait/ops/values.hpp"
#include "support/cpu_backend.hpp"

using namespace plait;

namespace {
struct rows : axis<2> {};
struct columns : axis<2> {};
struct node : mesh<rows, columns> {};
using by_row = layout<node, on<rows, Shard<0>>>;
using by_block = layout<node, on<rows, Shard<0>>, on<columns, Shard<1>>>;
const double numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
}  // namespace

TEST_CASE("values_of: this rank's block; bits of every element type") {
  run_ranks<node>(test_backend(), [](context& c) {
    const auto x = constant<by_block, double, extents<2, 4>>(c, numbers);
    const double first = 1 + 4 * c.coordinate[0] + 2 * c.coordinate[1];
    CHECK(values_of(c, x) == std::vector<double>{first, first + 1});
    const std::int64_t ids[] = {7, -1};
    CHECK(values_of(c, constant<by_row, std::int64_t, extents<2>>(c, ids)) == std::vector<std::int64_t>{ids[c.coordinate[0]]});
    const std::int64_t none[] = {0};
    CHECK(values_of(c, constant<by_row, float, extents<dyn>>(c, nullptr, none)).empty());
  });
}

TEST_CASE("value_of: a loss over cut rows is the same number on every rank, and nothing of it is on the tape") {
  run_ranks<node>(test_backend(), [](context& c) {
    using by_row_and_vocabulary = layout<node, on<rows, Shard<0>>, on<columns, Invariant>>;
    const auto logits = with_gradient(constant<by_row_and_vocabulary, double, extents<2, 4>>(c, numbers));
    const std::int64_t label[] = {3, 0};
    const auto labels = constant<by_row, std::int64_t, extents<2>>(c, label);
    tape recorded;
    const scoped_value<tape*> recording(c.recording, &recorded);
    const auto loss = cross_entropy_sum(c, cross_entropy_parts(c, logits, row_maximum(c, logits), labels), labels, 1.0);
    static_assert(same_layout<decltype(loss), layout<node, on<rows, Partial>, on<columns, Invariant>>>);
    const auto before = recorded.size();
    const double row = std::log(1 + std::exp(-1.0) + std::exp(-2.0) + std::exp(-3.0));
    CHECK(value_of(c, loss) == doctest::Approx(row + (row + 3)));
    CHECK(recorded.size() == before);
    backward(c, loss);  // the loss is as it was
    CHECK(value_of(c, loss) == doctest::Approx(2 * row + 3));
  });
}

TEST_CASE("value_of: a pending maximum, a number that nothing is pending of, and what is not one number") {
  run_ranks<node>(test_backend(), [](context& c) {
    using by_column = layout<node, on<columns, Shard<1>>>;
    const auto maximum = row_maximum(c, constant<by_column, double, extents<1, 4>>(c, numbers));
    static_assert(same_layout<decltype(maximum), layout<node, on<columns, PartialMax>>>);
    CHECK(value_of(c, maximum) == 4);
    const double one[] = {2.5};
    CHECK(value_of(c, constant<layout<node>, double, extents<1>>(c, one)) == 2.5);
    const std::int64_t two[] = {2};
    CHECK_THROWS_WITH_AS(value_of(c, constant<layout<node>, double, extents<dyn>>(c, numbers, two)),
                         doctest::Contains("does not hold one number"), std::invalid_argument);
  });
}
