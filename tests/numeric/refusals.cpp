// What types cannot see where extents are dyn is refused when it is known, in the words of the static rule.
#include <doctest/doctest.h>

#include <vector>

#include "plait/comm/rank_threads.hpp"
#include "plait/ops/attention.hpp"
#include "plait/ops/constant.hpp"
#include "plait/ops/experts.hpp"
#include "plait/ops/heads.hpp"
#include "plait/ops/leaf.hpp"
#include "plait/ops/loss.hpp"
#include "plait/ops/row_gate.hpp"
#include "plait/style/dense.hpp"
#include "plait/train/store_builder.hpp"
#include "support/cpu_backend.hpp"

using namespace plait;

namespace {
struct only_axis : axis<dyn> {};
struct node : mesh<only_axis> {};
using whole = layout<node>;
template <class Element, int Rank>
using any = tensor<Element, std::conditional_t<Rank == 1, extents<dyn>, std::conditional_t<Rank == 2, extents<dyn, dyn>,
                                std::conditional_t<Rank == 3, extents<dyn, dyn, dyn>, extents<dyn, dyn, dyn, dyn>>>>, whole>;

/// A tensor of ones.
template <class Element = float, class Layout = whole, class... Sizes>
auto ones(context& c, Sizes... sizes) {
  const std::int64_t global[] = {sizes...};
  std::int64_t n = 1;
  for (const std::int64_t s : global) n *= s;
  const std::vector<Element> values(static_cast<std::size_t>(n), Element(1));
  return constant<Layout, Element, typename any<Element, sizeof...(Sizes)>::extents_type>(c, values.data(), global);
}
template <class Body>
void on_one_rank(Body body) {
  run_ranks({1, {1}}, test_backend(), body);
}

/// A model of one weight, stored in pieces over the ranks.
struct single : axis<1> {};
struct ranks : mesh<only_axis, single> {};
struct model {
  static constexpr parameter parameters[] = {{"a.weight", {4, 4}}, {"layers.*.b.weight", {4, 4}}};
};
struct stored_in_pieces : plan<ranks, parameters<rule<"a", replicated<single>>, rule<"layers.*.b", replicated<single>>>, activations<>, everywhere<fsdp<only_axis>>> {};
constexpr int unit_of_a = 1;  // 0 is the embedding's
template <class Body>
void with_store(Body body) {
  run_ranks({2, {2, 1}}, test_backend(), [&](context& c) {
    parameter_store store;
    build_store(c, store, table_of<stored_in_pieces, model>(), {});
    for (parameter_slot& s : store.slots) c.ops->fill(c.exec, s.master, 1.0);
    store.zero_gradients(c);
    const std::vector<float> values(16, 1.0f);
    tape recorded;
    body(c, store, weight<stored_in_pieces, model, "a.weight">(store), constant<layout<ranks>, float, extents<4, 4>>(c, values.data()), recorded);
    c.recording = nullptr;
  });
}
template <class Y>
void run_back(context& c, const Y& y) {
  detail::contribute(c, y.data().gradient, [&](view one) { c.ops->fill(c.exec, one, 1.0); });
  std::exchange(c.recording, nullptr)->backward(c);
}
#define REFUSED(expression, text) CHECK_THROWS_WITH(static_cast<void>(expression), doctest::Contains(text))
}  // namespace

TEST_CASE("dense ops: unlike extents") {
  on_one_rank([](context& c) {
    REFUSED(add(c, ones(c, 2, 3), ones(c, 3, 2)), "plait[extent-mismatch]: add");
    REFUSED(swiglu(c, ones(c, 2, 3), ones(c, 2, 4)), "plait[extent-mismatch]: swiglu");
    REFUSED(gate_rows(c, ones(c, 2, 3), ones(c, 3, 1)), "plait[extent-mismatch]: gate_rows");
    const any<float, 2> x = ones(c, 2, 3);
    using stated = tensor<float, extents<2, 4>, whole>;
    REFUSED(stated(x), "plait[extent-mismatch]: a tensor's extent");
    CHECK(tensor<float, extents<2, 3>, whole>(x).extent(1) == 3);
  });
}

TEST_CASE("an array is not relabelled by the type it is given to") {
  on_one_rank([](context& c) {
    const auto x = ones(c, 2, 3);
    using cut = layout<node, on<only_axis, Shard<0>>>;
    REFUSED((tensor<float, extents<dyn, dyn>, cut>(x.data())), "plait[placement-mismatch]");
    REFUSED((tensor<double, extents<dyn, dyn>, whole>(x.data())), "plait[placement-mismatch]");
    REFUSED((tensor<float, extents<dyn, 4>, whole>(x.data())), "plait[placement-mismatch]");
    CHECK(tensor<float, extents<2, dyn>, whole>(x.data()).extent(1) == 3);
  });
}

TEST_CASE("loss: labels and maxima of other rows, a loss of many numbers") {
  on_one_rank([](context& c) {
    tape recorded;
    const scoped_value<tape*> recording(c.recording, &recorded);
    const auto logits = with_gradient(ones(c, 4, 8));
    const auto maximum = row_maximum(c, logits);
    REFUSED(cross_entropy_parts(c, logits, maximum, ones<std::int64_t>(c, 3)), "not one label a row");
    REFUSED(cross_entropy_parts(c, logits, row_maximum(c, ones(c, 5, 8)), ones<std::int64_t>(c, 4)), "not one maximum a row");
    const auto parts = cross_entropy_parts(c, logits, maximum, ones<std::int64_t>(c, 4));
    REFUSED(cross_entropy_sum(c, parts, ones<std::int64_t>(c, 5), 1), "not one label a row");
    using same = layout<node, on<only_axis, Invariant>>;
    const auto many = scale(c, with_gradient(ones<float, same>(c, 3)), 2);
    REFUSED(backward(c, many), "a loss is one number");
  });
}

TEST_CASE("attention and rope: other positions, other heads") {
  on_one_rank([](context& c) {
    const auto q = ones(c, 2, 5, 4, 8);
    const auto segments = ones<std::int32_t>(c, 2, 5);
    const auto kv = [&](std::int64_t rows, std::int64_t columns, std::int64_t heads) { return ones(c, rows, columns, heads, 8); };
    CHECK(attention(c, q, kv(2, 5, 2), kv(2, 5, 2), segments, 1).extent(2) == 4);
    REFUSED(attention(c, q, kv(3, 5, 2), kv(3, 5, 2), segments, 1), "unlike rows");
    REFUSED(attention(c, q, kv(2, 5, 2), kv(2, 5, 4), segments, 1), "not one value a key");
    REFUSED(attention(c, q, kv(2, 5, 3), kv(2, 5, 3), segments, 1), "keys are not those");
    REFUSED(attention(c, q, kv(2, 5, 2), kv(2, 5, 2), ones<std::int32_t>(c, 2, 4), 1), "segments are of other positions");
    REFUSED(rope(c, q, ones(c, 2, 4, 4), ones(c, 2, 4, 4)), "of other positions");
    REFUSED(rope(c, q, ones(c, 2, 5, 4), ones(c, 2, 5, 3)), "sines");
  });
  // 6 queries' heads and 3 key heads over 2 ranks: the first rank's third query would be served by the second rank's key.
  const auto uneven = [](context& c) {
    using cut = layout<node, on<only_axis, Shard<2>>>;
    const auto q = redistribute<cut>(c, ones(c, 1, 2, 6, 8)), k = redistribute<cut>(c, ones(c, 1, 2, 3, 8));
    attention(c, q, k, k, ones<std::int32_t>(c, 1, 2), 1);
  };
  CHECK_THROWS_WITH(run_ranks({1, {2}}, test_backend(), uneven), doctest::Contains("keys are not those"));
}

TEST_CASE("experts: other tokens, another number of experts") {
  on_one_rank([](context& c) {
    const auto x = ones(c, 6, 8);
    const auto routed = route(c, ones(c, 6, 4), 2, {});
    const auto w = ones(c, 4, 8, 8);
    REFUSED(dispatch(c, ones(c, 5, 8), routed, w), "other tokens were routed");
    REFUSED(dispatch(c, x, routed, ones(c, 3, 8, 8)), "not as many experts");
    const auto rows = dispatch(c, x, routed, w);
    REFUSED(grouped_linear(c, rows, ones(c, 5, 8, 8)), "another number of experts");
    REFUSED(combine(c, rows, route(c, ones(c, 7, 4), 2, {}), x), "other tokens were routed");
    CHECK(combine(c, grouped_linear(c, rows, w), routed, x).extent(0) == 6);
    // Rows weighted when they were dispatched are not weighted again: either way a token is the sum of its scores, here 1/4 each.
    const auto before = combine(c, dispatch(c, x, routed, w, true), routed, x), after = combine(c, rows, routed, x);
    for (std::int64_t i = 0; i < 6 * 8; ++i) CHECK((before.local()[i] == 0.5f && after.local()[i] == 0.5f));
  });
}

TEST_CASE("a parameter is an operand like others, in its unit") {
  with_store([](context& c, parameter_store& store, const auto& w, const auto& x, tape& recorded) {
    REFUSED(linear(c, x, w), "outside of its unit");
    REFUSED((weight<stored_in_pieces, model, "layers.*.b.weight">(store)), "say which layer");
    c.recording = &recorded;
    store.enter_unit(c, unit_of_a, -1);
    const auto half = scale(c, add(c, w, scale(c, w, 3)), 0.5);
    const auto y = linear(c, rms_norm(c, join_columns(c, split_columns(c, w, 1).left, split_columns(c, w, 1).right), 0), half);
    CHECK(*y.local() == 8.0f);
    store.leave_unit(c, unit_of_a, -1);
    run_back(c, y);
    REFUSED(store.gradient_norm(c), "call synchronise_gradients before");
    REFUSED(store.update(c, {}), "call synchronise_gradients before");
    store.synchronise_gradients(c);
    REFUSED(store.synchronise_gradients(c), "are whole already");
    CHECK(store.gradient_norm(c) > 0);
    // By the second operand 2 * 4 rows of ones, over 2 ranks; by the first nothing, since a row of equal numbers stays normal.
    for (std::int64_t i = 0; i < 8; ++i) CHECK(store.slots[0].accumulated.as<float>()[i] == doctest::Approx(16));
    REFUSED(scale(c, w, 2), "outside of its unit");
  });
}

TEST_CASE("a unit entered without a tape does not lose its gradients in silence") {
  with_store([](context& c, parameter_store& store, const auto& w, const auto& x, tape& recorded) {
    store.enter_unit(c, unit_of_a, -1);
    c.recording = &recorded;
    run_back(c, linear(c, x, w));
    REFUSED(store.synchronise_gradients(c), "context::recording before enter_unit");
  });
}
