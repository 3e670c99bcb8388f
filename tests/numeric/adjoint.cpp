// Redistribution by brute force: the value that the ranks' pieces denote stays, and so does the gradient that the derived backward
// leaves. Integer data, compared exactly. Nothing here is a template on a layout: what typing::redistribute accepts is run.
#include "support.hpp"

#include "plait/typing/reduction.hpp"

using namespace numeric;

namespace {

struct one_case {
  layout_value from, to;
  std::vector<i64> extent;
};
struct one_result {
  std::vector<std::vector<double>> y, dx;
  std::vector<collective_record> forward;  // of rank 0
};

/// Runs all cases of one mesh in one set of rank threads.
std::vector<one_result> run_cases(const mesh_shape& mesh, const std::vector<one_case>& cases, bool with_gradient = true) {
  const poisoned nan;
  const std::size_t n = static_cast<std::size_t>(mesh.ranks());
  std::vector<one_result> results(cases.size());
  for (one_result& r : results) r.y.resize(n), r.dx.resize(n);
  run_ranks(mesh, test_backend(), [&](context& c) {
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const one_case& k = cases[i];
      const std::uint32_t seed = static_cast<std::uint32_t>(i) * 7919u + 17u;
      tape t;
      c.recording = &t;
      std::vector<collective_record> records;
      c.records = &records;
      const array x = make(c, integers(k.extent, seed), k.from, dtype::f32, seed + 1, true);
      array y = runtime::redistribute(c, x, k.to);
      if (c.rank == 0) results[i].forward = records;
      results[i].y[static_cast<std::size_t>(c.rank)] = read(y.local);
      if (with_gradient) {
        seed_gradient(c, y, integers(k.extent, seed + 2), seed + 3);
        run_backward(c, t);
        results[i].dx[static_cast<std::size_t>(c.rank)] = gradient_of(x);
      }
      c.recording = nullptr;
      c.records = nullptr;
    }
  });
  return results;
}

/// Returns how many cases keep value and gradient; names the first few that do not.
int check_cases(const mesh_shape& mesh, const std::vector<one_case>& cases, bool with_gradient = true) {
  const std::vector<one_result> results = run_cases(mesh, cases, with_gradient);
  int good = 0, named = 0;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const one_case& k = cases[i];
    const std::uint32_t seed = static_cast<std::uint32_t>(i) * 7919u + 17u;
    const denoted y = denote(results[i].y, k.to, k.extent, mesh);
    std::string problem = y.problem;
    if (problem.empty() && first_difference(integers(k.extent, seed), y.w) >= 0) problem = "the value changed";
    if (problem.empty() && with_gradient) {
      const denoted dx = denote(results[i].dx, grad_of(k.from), k.extent, mesh);
      problem = dx.problem.empty() ? (first_difference(integers(k.extent, seed + 2), dx.w) >= 0 ? "the gradient changed" : "") : "gradient: " + dx.problem;
    }
    if (problem.empty()) {
      ++good;
    } else if (++named <= 5) {
      INFO("seed ", seed, ": ", text(k.from), " -> ", text(k.to), ": ", problem);
      CHECK(problem == "");
    }
  }
  return good;
}

std::string sizes_of(const mesh_shape& m) {
  std::string s;
  for (int a = 0; a < m.atoms; ++a) s += (a > 0 ? " x " : "") + std::to_string(m.size[a]);
  return s;
}

/// All layouts of `choice` on every axis, in every order in which they can cut.
std::vector<layout_value> all_layouts(int atoms, const std::vector<placement_value>& choice) {
  std::vector<layout_value> out;
  std::vector<int> order;
  for (int a = 0; a < atoms; ++a) order.push_back(a);
  do {
    std::vector<std::size_t> digit(static_cast<std::size_t>(atoms), 0);
    while (true) {
      layout_builder b(atoms);
      for (const int a : order) b.place(a, choice[digit[static_cast<std::size_t>(a)]]);
      if (std::find(out.begin(), out.end(), b.value) == out.end()) out.push_back(b.value);
      std::size_t d = 0;
      while (d < digit.size() && ++digit[d] == choice.size()) digit[d++] = 0;
      if (d == digit.size()) break;
    }
  } while (std::next_permutation(order.begin(), order.end()));
  return out;
}

}  // namespace

TEST_CASE("one axis: every legal pair of placements keeps value and gradient, n = 1 to 4") {
  const std::vector<std::vector<i64>> shapes[4] = {
      {}, {{8}, {7}, {2}, {0}, {1}}, {{8, 12}, {6, 5}, {3, 2}, {0, 4}, {4, 1}}, {{4, 8, 4}, {3, 2, 6}, {2, 0, 3}, {1, 5, 2}}};
  int total = 0, good = 0, gated = 0;
  for (int n = 1; n <= 4; ++n) {
    std::vector<one_case> cases;
    for (int rank = 1; rank <= 3; ++rank) {
      std::vector<placement_value> all{R, I, P};
      for (int d = 0; d < rank; ++d) {
        all.push_back(S(d));
        all.push_back(Q(d, 2));
        if (d == 0) all.push_back(Q(d, 3));
      }
      for (const std::vector<i64>& extent : shapes[rank])
        for (const placement_value s : all)
          for (const placement_value d : all) {
            const redistribution_rule rule = redistribution(s, d);
            if (rule.kind == move::illegal) continue;
            gated += rule.adjoint_only;
            cases.push_back({layout_of({s}), layout_of({d}), extent});
          }
    }
    good += check_cases(mesh_of({n}), cases);
    total += static_cast<int>(cases.size());
  }
  MESSAGE("one axis: ", good, " of ", total, " cases, ", gated, " of them gated moves");
  CHECK(good == total);
  CHECK(total > 1500);
}

TEST_CASE("one axis: maxima, and entering and leaving a local region") {
  for (int n = 1; n <= 4; ++n) {
    std::vector<one_case> cases;
    for (const std::vector<i64>& extent : {std::vector<i64>{5, 3}, {0, 2}, {8, 4}})
      for (const placement_value d : {R, I}) cases.push_back({layout_of({M}), layout_of({d}), extent});
    CHECK(check_cases(mesh_of({n}), cases, false) == static_cast<int>(cases.size()));
  }
  // S -> Ragged -> S: data and gradient are untouched. Ragged -> Partial: the pieces become addends.
  const whole x = integers({4, 3}, 5), g = integers({4, 3}, 6);
  std::vector<std::vector<double>> there(4), back(4), dx(4), summed(4), dr(4);
  run_ranks(mesh_of({4}), test_backend(), [&](context& c) {
    const std::size_t r = static_cast<std::size_t>(c.rank);
    tape t;
    c.recording = &t;
    const array a = make(c, x, layout_of({S(0)}), dtype::f32, 1, true);
    const array inside = runtime::redistribute(c, a, layout_of({V}));
    const array out = runtime::redistribute(c, inside, layout_of({S(0)}));
    there[r] = read(inside.local);
    back[r] = read(out.local);
    seed_gradient(c, out, g, 3);
    run_backward(c, t);
    dx[r] = gradient_of(a);

    array ragged = make(c, x, layout_of({R}), dtype::f32, 1, true);
    ragged.layout = layout_of({V});
    const array p = runtime::redistribute(c, ragged, layout_of({P}));
    summed[r] = read(p.local);
    seed_gradient(c, p, g, 4);
    run_backward(c, t);
    dr[r] = gradient_of(ragged);
    c.recording = nullptr;
  });
  CHECK(first_difference(x, denote(there, layout_of({S(0)}), x.extent, mesh_of({4})).w) == -1);
  CHECK(first_difference(x, denote(back, layout_of({S(0)}), x.extent, mesh_of({4})).w) == -1);
  CHECK(first_difference(g, denote(dx, layout_of({S(0)}), x.extent, mesh_of({4})).w) == -1);
  whole four = x;
  for (double& v : four.value) v *= 4;
  CHECK(first_difference(four, denote(summed, layout_of({P}), x.extent, mesh_of({4})).w) == -1);
  CHECK(first_difference(g, denote(dr, layout_of({R}), x.extent, mesh_of({4})).w) == -1);  // each addend's gradient is the sum's
}

TEST_CASE("two axes: every pair of layouts that the types accept keeps value and gradient") {
  int total = 0, good = 0, refused = 0;
  for (const mesh_shape& mesh : {mesh_of({2, 2}), mesh_of({2, 3}), mesh_of({3, 1})}) {
    std::vector<one_case> cases;
    const std::vector<layout_value> layouts = all_layouts(2, {R, I, S(0), S(1), Q(0, 2), P});
    for (const layout_value& from : layouts)
      for (const layout_value& to : layouts) {
        const bool accepted = typing::redistribute(from, to, true).ok();
        refused += !accepted;
        // The types accept a move exactly if they accept its adjoint.
        CHECK_MESSAGE(accepted == typing::redistribute(grad_of(to), grad_of(from), true).ok(), text(from), " -> ", text(to));
        if (accepted) cases.push_back({from, to, cases.size() % 3 == 0 ? std::vector<i64>{5, 7} : std::vector<i64>{12, 6}});
      }
    good += check_cases(mesh, cases);
    total += static_cast<int>(cases.size());
    INFO("mesh ", sizes_of(mesh));
    CHECK(good == total);
  }
  MESSAGE("two axes: ", good, " of ", total, " accepted moves; ", refused, " refused");
  CHECK(total > 3000);
}

TEST_CASE("three axes: 1500 accepted moves, pinned seed") {
  const std::uint32_t seed = 90210;
  const mesh_shape mesh = mesh_of({2, 2, 2});
  const std::vector<layout_value> layouts = all_layouts(3, {R, I, S(0), S(1), P});
  std::mt19937 random(seed);
  std::vector<one_case> cases;
  while (cases.size() < 1500) {
    const layout_value& from = layouts[random() % layouts.size()];
    const layout_value& to = layouts[random() % layouts.size()];
    if (!(from == to) && typing::redistribute(from, to, true).ok()) cases.push_back({from, to, {4, 8}});
  }
  const int good = check_cases(mesh, cases);
  MESSAGE("three axes: ", good, " of ", cases.size(), " cases, seed ", seed);
  CHECK(good == static_cast<int>(cases.size()));
}

TEST_CASE("several axes that move alike move in one collective") {
  struct expected {
    layout_value from, to;
    std::vector<collective_kind> kinds;
    std::vector<int> ranks;
  };
  using ck = collective_kind;
  const expected all[] = {
      {layout_of({S(0), S(1)}), layout_of({R, R}), {ck::all_gather}, {6}},
      {layout_of({S(0), S(0)}), layout_of({R, R}), {ck::all_gather}, {6}},
      {layout_of({S(0), S(1)}), layout_of({I, R}), {ck::all_gather}, {6}},
      {layout_of({P, P}), layout_of({S(0), I}), {ck::reduce_scatter, ck::all_reduce}, {2, 3}},
      {layout_of({P, P}), layout_of({S(0), S(0)}), {ck::reduce_scatter}, {6}},
      {layout_of({P, P}), layout_of({S(0), S(1)}), {ck::reduce_scatter}, {6}},
      {layout_of({P, P}), layout_of({R, I}), {ck::all_reduce}, {6}},
      {layout_of({S(0), S(1)}), layout_of({S(1), S(0)}), {ck::all_to_all}, {6}},
      {layout_of({S(0), R}), layout_of({S(1), R}), {ck::all_to_all}, {2}},
      {layout_of({I, I}), layout_of({R, R}), {}, {}},
      {layout_of({R, R}), layout_of({S(0), S(1)}), {}, {}},
      {layout_of({S(0), P}), layout_of({R, R}), {ck::all_reduce, ck::all_gather}, {3, 2}},  // the sum first: fewer bytes
  };
  const mesh_shape mesh = mesh_of({2, 3});
  std::vector<one_case> cases;
  for (const expected& e : all) cases.push_back({e.from, e.to, {6, 12}});
  CHECK(check_cases(mesh, cases) == static_cast<int>(cases.size()));
  const std::vector<one_result> results = run_cases(mesh, cases);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    INFO(text(cases[i].from), " -> ", text(cases[i].to));
    REQUIRE(results[i].forward.size() == all[i].kinds.size());
    for (std::size_t s = 0; s < all[i].kinds.size(); ++s) {
      CHECK(std::string(name_of(results[i].forward[s].kind)) == name_of(all[i].kinds[s]));
      CHECK(results[i].forward[s].ranks == all[i].ranks[s]);
    }
  }
}

TEST_CASE("axes of one rank cost nothing") {
  std::vector<one_case> cases;
  for (const layout_value& from : {layout_of({S(0), P}), layout_of({P, S(1)}), layout_of({I, R})})
    for (const layout_value& to : {layout_of({R, R}), layout_of({R, S(0)})}) cases.push_back({from, to, {4, 6}});
  const mesh_shape mesh = mesh_of({1, 1});
  CHECK(check_cases(mesh, cases) == static_cast<int>(cases.size()));
  for (const one_result& r : run_cases(mesh, cases)) CHECK(r.forward.empty());
}

TEST_CASE("what the types refuse, the runtime refuses too") {
  run_ranks(mesh_of({1}), test_backend(), [](context& c) {
    c.mesh = mesh_of({2, 2});
    array x = make(c, integers({4, 4}, 1), layout_of({S(0), S(0)}), dtype::f32, 1, false);
    CHECK_THROWS_WITH_AS(runtime::redistribute(c, x, layout_of({S(0), Q(0, 2)})), doctest::Contains("plait[no-single-collective]"), std::logic_error);
    CHECK_THROWS_WITH_AS(runtime::redistribute(c, x, layout_of({R, S(0)})), doctest::Contains("plait[not-innermost]"), std::logic_error);
  });
}
