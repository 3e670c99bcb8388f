// Gradients of values with several uses: whoever adds in place must not add into memory that another gradient refers to.
#include <doctest/doctest.h>

#include <vector>

#include "plait/comm/rank_threads.hpp"
#include "plait/ops/constant.hpp"
#include "plait/ops/dense.hpp"
#include "plait/ops/leaf.hpp"
#include "plait/ops/loss.hpp"
#include "plait/ops/values.hpp"
#include "support/cpu_backend.hpp"

using namespace plait;

namespace {
struct only_axis : axis<1> {};
struct node : mesh<only_axis> {};
using whole = layout<node>;
using square = tensor<double, extents<2, 2>, whole>;

square leaf(context& c, std::vector<double> values) { return with_gradient(constant<whole, double, extents<2, 2>>(c, values.data())); }

std::vector<double> gradient_values(context& c, const square& x) {
  return values_of(c, gradient_of(c, x));
}

/// Seeds z's gradient with ones and runs the tape.
template <class Z>
void run_back(context& c, const Z& z) {
  detail::contribute(c, z.data().gradient, [&](view one) { c.ops->fill(c.exec, one, 1.0); });
  tape* recorded = std::exchange(c.recording, nullptr);
  recorded->backward(c);
  c.recording = recorded;
}
}  // namespace

TEST_CASE("a leaf used by an op that shares gradients and by one that accumulates them, in both orders") {
  run_ranks<node>(test_backend(), [](context& c) {
    for (const bool linear_first : {true, false}) {
      tape recorded;
      const scoped_value<tape*> recording(c.recording, &recorded);
      const square x = leaf(c, {1, 2, 3, 4}), w = leaf(c, {1, 0, 0, 1}), d = leaf(c, {5, 6, 7, 8});
      square y, s;
      if (linear_first) y = linear(c, x, w), s = add(c, w, d);
      else s = add(c, w, d), y = linear(c, x, w);
      const square z = add(c, y, s);
      run_back(c, z);
      CHECK(gradient_values(c, d) == std::vector<double>{1, 1, 1, 1});
      CHECK(gradient_values(c, w) == std::vector<double>{1 + 4, 1 + 6, 1 + 4, 1 + 6});  // sum over rows of x, and once from the add
      CHECK(gradient_values(c, x) == std::vector<double>{1, 1, 1, 1});
    }
  });
}

TEST_CASE("a weight that is also a residual, and a value added to itself") {
  run_ranks<node>(test_backend(), [](context& c) {
    tape recorded;
    const scoped_value<tape*> recording(c.recording, &recorded);
    const square w = leaf(c, {1, 2, 3, 4}), x = leaf(c, {1, 1, 1, 1});
    const square twice = add(c, w, w);
    const square z = add(c, add(c, twice, linear(c, x, w)), scale(c, w, 3));
    run_back(c, z);
    CHECK(gradient_values(c, w) == std::vector<double>{7, 7, 7, 7});  // 2 + 2 rows of ones + 3
    CHECK(gradient_values(c, x) == std::vector<double>{4, 6, 4, 6});
  });
}

TEST_CASE("a gradient that is looked at on the way still goes on") {
  run_ranks<node>(test_backend(), [](context& c) {
    tape recorded;
    const scoped_value<tape*> recording(c.recording, &recorded);
    const square w = leaf(c, {1, 2, 3, 4});
    const square between = with_gradient(scale(c, w, 3));
    run_back(c, scale(c, between, 2));
    CHECK(gradient_values(c, between) == std::vector<double>{2, 2, 2, 2});
    CHECK(gradient_values(c, w) == std::vector<double>{6, 6, 6, 6});
  });
}

TEST_CASE("a tensor that was moved from is empty") {
  run_ranks<node>(test_backend(), [](context& c) {
    square x = leaf(c, {1, 2, 3, 4});
    const square w = leaf(c, {1, 0, 0, 1}), taken = std::move(x);
    CHECK(taken.data().gradient != nullptr);
    CHECK(x.local() == nullptr);
    CHECK_THROWS_WITH(linear(c, x, w), doctest::Contains("plait[extent-mismatch]"));
    square y = leaf(c, {1, 2, 3, 4});
    enter<layout<node>>(c, std::move(y));
    CHECK(y.local() == nullptr);
  });
}

TEST_CASE("backward twice over one tape is refused") {
  run_ranks<node>(test_backend(), [](context& c) {
    tape recorded;
    const scoped_value<tape*> recording(c.recording, &recorded);
    const double values[] = {1, 2, 3, 4};
    const auto statistics = with_gradient(constant<whole, double, extents<2, 2>>(c, values));
    const auto a = balance(c, statistics, 2);
    backward(c, a);
    CHECK_THROWS_WITH(backward(c, a), doctest::Contains("tape is empty"));
  });
}
