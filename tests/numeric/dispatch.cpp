// Tokens sent to their experts' ranks: the result and every gradient against one rank in float64 for token counts that no even cut gives,
// empty senders and receivers; the bytes that moved against the counts of the routing.
#include "support.hpp"

#include <mutex>

#include "plait/ops/exchange.hpp"

using namespace numeric;

namespace {

struct outer : axis<dyn> {};
struct inner : axis<dyn> {};
struct tp : axis<dyn> {};
struct node : mesh<outer, inner, tp> {};
struct data : axis_view<outer, inner> {};
struct ep : axis_view<inner, tp> {};
struct pe : axis_view<tp, inner> {};  // experts in another order than the ranks

template <class... Entries>
using L = layout<node, Entries...>;
using tokens = L<on<data, Shard<0>>, on<tp, Shard<0>>>;
using e2 = extents<dyn, dyn>;
using e3 = extents<dyn, dyn, dyn>;

constexpr i64 E = 8, H = 6, F = 5;

struct setting {
  const char* name;
  mesh_shape mesh;
  std::vector<i64> held;  // tokens of each rank
  i64 k;
  std::vector<i64> chosen;  // the experts that tokens choose among; empty: all
};

/// Everything that a step makes, whole, in the order of the tokens.
struct outcome {
  std::vector<double> y, dx, dgate, dup, ddown;
  std::vector<std::vector<collective_record>> records;
  std::vector<std::vector<i64>> rows;  // rows[i][j]: of rank i's tokens for experts on rank j of its group
};

template <class Expert>
outcome step(const setting& s, bool alone) {
  const mesh_shape mesh = alone ? mesh_of({1, 1, 1}) : s.mesh;
  i64 all = 0;
  for (const i64 n : s.held) all += n;
  const whole x = reals({all, H}, 1), gate = reals({E, H}, 2, 3.0), up = reals({E, 2 * F, H}, 3), down = reals({E, H, F}, 4), dy = reals({all, H}, 5);
  // A bias of the logits forces the choice.
  whole bias({E});
  for (i64 e = 0; e < E && !s.chosen.empty(); ++e)
    bias.value[static_cast<std::size_t>(e)] = std::find(s.chosen.begin(), s.chosen.end(), e) == s.chosen.end() ? -1000 : 0;
  outcome out;
  out.records.resize(static_cast<std::size_t>(mesh.ranks()));
  out.rows.assign(static_cast<std::size_t>(mesh.ranks()), std::vector<i64>(static_cast<std::size_t>(mesh.ranks()), 0));
  out.y.assign(static_cast<std::size_t>(all * H), 0), out.dx = out.y;
  out.dgate.assign(gate.value.size(), 0), out.dup.assign(up.value.size(), 0), out.ddown.assign(down.value.size(), 0);
  std::mutex mutex;
  const poisoned nan;
  run_ranks(mesh, test_backend(), [&](context& c) {
    const std::size_t rank = static_cast<std::size_t>(c.rank);
    i64 first = 0;
    for (std::size_t r = 0; r < rank; ++r) first += s.held[r];
    const i64 held = alone ? all : s.held[rank];
    // This rank's tokens: a cut that the layout's even one is not.
    const auto own = [&](const whole& w) {
      const i64 local[2] = {held, H}, global[2] = {all, H};
      array a = detail::make_array(c, dtype::f64, 2, local, global, tokens::value);
      for (i64 i = 0; i < held * H; ++i) set_element(a.local, i, w.value[static_cast<std::size_t>(first * H + i)]);
      detail::track(a);
      return tensor<double, e2, tokens>(a);
    };
    tape t;
    c.recording = &t;
    c.records = &out.records[rank];
    const auto tx = own(x);
    const tensor<double, e2, L<>> tgate(make(c, gate, L<>::value, dtype::f64, 0, true));
    const tensor<double, extents<dyn>, L<>> tbias(make(c, bias, L<>::value, dtype::f64, 0, false));
    const tensor<double, e3, L<on<Expert, Shard<0>>>> tup(make(c, up, L<on<Expert, Shard<0>>>::value, dtype::f64, 0, true)),
        tdown(make(c, down, L<on<Expert, Shard<0>>>::value, dtype::f64, 0, true));
    const auto r = route(c, bias_add(c, linear(c, tx, tgate), tbias), s.k, {.normalise = true});
    const auto there = to_experts(c, dispatch(c, tx, r, tup));
    const auto y = combine(c, to_tokens(c, grouped_linear(c, swiglu(c, grouped_linear(c, there, tup)), tdown)), r, tx);
    static_assert(std::is_same_v<typename decltype(y)::layout_type, tokens>);
    c.recording = nullptr;
    array cotangent = own(dy).data();
    detail::contribute(c, y.data().gradient, cotangent.local, cotangent.memory);
    run_backward(c, t);
    c.records = nullptr;

    const std::lock_guard lock(mutex);
    const auto place = [&](std::vector<double>& to, const std::vector<double>& from, std::size_t at) {
      for (std::size_t i = 0; i < from.size(); ++i) to[at + i] += from[i];
    };
    place(out.y, read(y.data().local), static_cast<std::size_t>(first * H));
    place(out.dx, gradient_of(tx.data()), static_cast<std::size_t>(first * H));
    place(out.dgate, gradient_of(tgate.data()), 0);  // pending on every axis
    const index_set mine = held_indices(L<on<Expert, Shard<0>>>::value, 0, E, c.mesh.size, c.coordinate);
    const std::size_t expert = mine.count == 0 ? 0 : static_cast<std::size_t>(mine.range[0].begin);
    place(out.dup, gradient_of(tup.data()), expert * 2 * F * H);  // pending on outer
    place(out.ddown, gradient_of(tdown.data()), expert * H * F);
    for (i64 p = 0; p < held * s.k; ++p)
      for (int m = 0; m < c.mesh.group_size(6); ++m) {
        int at[max_atoms];
        detail::member_coordinates(c, 6, m, at);
        const index_set theirs = held_indices(L<on<Expert, Shard<0>>>::value, 0, E, c.mesh.size, at);
        const i64 id = static_cast<i64>(element(r.arrays.ids.local, p));
        if (theirs.count > 0 && id >= theirs.range[0].begin && id < theirs.range[0].end) ++out.rows[rank][static_cast<std::size_t>(m)];
      }
  });
  return out;
}

double apart(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0, size = 1;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = a[i] == a[i] ? std::max(worst, std::abs(a[i] - b[i])) : 1e9;
    size = std::max(size, std::abs(b[i]));
  }
  return worst / size;
}
double size_of_largest(const std::vector<double>& v) {
  double n = 0;
  for (const double x : v) n = std::max(n, std::abs(x));
  return n;
}

const setting settings[] = {
    {"uneven", mesh_of({1, 1, 4}), {5, 0, 3, 7}, 2, {}},
    {"one expert", mesh_of({1, 1, 4}), {5, 0, 3, 7}, 1, {6}},
    {"empty receivers", mesh_of({1, 1, 4}), {4, 4, 0, 1}, 2, {2, 3}},
    {"one sender", mesh_of({1, 1, 4}), {0, 0, 9, 0}, 3, {}},
    {"no tokens", mesh_of({1, 1, 4}), {0, 0, 0, 0}, 2, {}},
    {"one expert a rank", mesh_of({1, 1, 8}), {5, 0, 3, 7, 1, 0, 2, 6}, 2, {}},
    {"over data ranks", mesh_of({1, 4, 1}), {5, 0, 3, 7}, 2, {}},
    {"over data ranks and tp", mesh_of({1, 2, 2}), {5, 0, 3, 7}, 2, {}},
    {"in two groups", mesh_of({2, 2, 2}), {5, 0, 3, 7, 0, 2, 0, 9}, 2, {}},
    {"in two groups, one of them idle", mesh_of({2, 2, 1}), {0, 0, 3, 7}, 2, {1, 6}},
    {"all experts", mesh_of({1, 2, 2}), {5, 0, 3, 7}, 8, {}},
    {"one rank", mesh_of({1, 1, 1}), {9}, 2, {}},
};

}  // namespace

TEST_CASE("rows sent to experts: result and gradients are those of one rank, float64") {
  for (const setting& s : settings)
    for (const bool other_order : {false, true}) {
      INFO(std::string(s.name) << (other_order ? ", experts in another order" : ""));
      const outcome want = step<ep>(s, true), got = other_order ? step<pe>(s, false) : step<ep>(s, false);
      CHECK(apart(got.y, want.y) <= 1e-14);
      CHECK(apart(got.dx, want.dx) <= 1e-14);
      CHECK(apart(got.dgate, want.dgate) <= 1e-13);
      CHECK(apart(got.dup, want.dup) <= 1e-13);
      CHECK(apart(got.ddown, want.ddown) <= 1e-13);
      if (std::string(s.name) != "no tokens")
        for (const std::vector<double>* v : {&want.y, &want.dx, &want.dgate, &want.dup, &want.ddown}) CHECK((v == &want.dgate && s.k == 1) != (size_of_largest(*v) > 0.01));
    }
}

TEST_CASE("rows sent to experts: two runs are equal bit for bit") {
  for (const setting& s : settings) {
    const outcome a = step<ep>(s, false), b = step<ep>(s, false);
    CHECK(a.y == b.y);
    CHECK(a.dx == b.dx);
  }
}

TEST_CASE("rows sent to experts: five exchanges a layer, and the bytes of each are those of the counts") {
  for (const setting& s : settings) {
    INFO(std::string(s.name));
    const outcome o = step<ep>(s, false);
    const int n = s.mesh.group_size(6);
    for (int rank = 0; rank < s.mesh.ranks(); ++rank) {
      const auto& records = o.records[static_cast<std::size_t>(rank)];
      CHECK(records.size() == (n == 1 ? 0u : 5u));
      const int first = rank / n * n, member = rank % n;  // the group's ranks follow each other
      for (std::size_t i = 0; i < records.size(); ++i) {
        const collective_record& r = records[i];
        CHECK(r.kind == collective_kind::all_to_all);
        CHECK(r.backward == (i >= 3));
        REQUIRE(r.sent.size() == static_cast<std::size_t>(n));
        const bool counts = i == 0, leaving = i == 1 || i == 3;
        i64 payload = 0;
        for (int m = 0; m < n; ++m) {
          const auto rows = [&](int from, int to) { return o.rows[static_cast<std::size_t>(first + from)][static_cast<std::size_t>(to)]; };
          const i64 bytes = counts ? (E / n + 1) * 4 : 8 * H * (leaving ? rows(member, m) : rows(m, member));
          CHECK(r.sent[static_cast<std::size_t>(m)] == bytes);
          payload += bytes;
        }
        CHECK(r.payload == payload);
      }
    }
  }
}
