#include "support.hpp"

using namespace cpu_test;

namespace {

struct routed {
  tensor probabilities, ids, scores;
  routed(dtype type, i64 T, i64 E, i64 k)
      : probabilities(statistic_of(type), {T, E}), ids(dtype::i32, {T, k}), scores(type, {T, k}) {}
};

routed route(tensor& logits, i64 k, const router_options& options, tensor* bias = nullptr, fault_record* faults = nullptr) {
  routed r(logits.type, logits.extent[0], logits.extent[1], k);
  execution ex;
  ex.faults = faults;
  cpu.router(ex, logits.v(), bias != nullptr ? bias->v() : view{}, options, r.probabilities.v(), r.ids.v(), r.scores.v());
  return r;
}
routed route(tensor& logits, i64 k, bool normalise, fault_record* faults = nullptr) {
  return route(logits, k, router_options{.normalise = normalise}, nullptr, faults);
}
void gradient(tensor& logits, routed& r, tensor& dscores, const router_options& options, tensor& dlogits) {
  cpu.router_gradient(plain, logits.v(), r.probabilities.v(), r.ids.v(), dscores.v(), options, dlogits.v());
}

/// Everything that the options say, for one row, in double.
struct reference {
  std::vector<double> probabilities, scores;
  std::vector<i64> ids;

  reference(const std::vector<double>& l, const std::vector<double>& bias, i64 k, const router_options& o) {
    const std::size_t experts = l.size();
    double total = 0;
    for (double a : l) total += std::exp(a);
    for (double a : l) probabilities.push_back(o.scoring == router_scoring::sigmoid ? 1 / (1 + std::exp(-a)) : std::exp(a) / total);
    std::vector<std::pair<double, i64>> choice, groups;  // falling order, then rising number: by the negative
    const std::size_t size = experts / static_cast<std::size_t>(o.groups);
    for (std::size_t e = 0; e < experts; ++e) choice.push_back({-(probabilities[e] + (bias.empty() ? 0 : bias[e])), static_cast<i64>(e)});
    for (std::size_t g = 0; g < static_cast<std::size_t>(o.groups); ++g) {
      std::vector<double> own;
      for (std::size_t e = g * size; e < (g + 1) * size; ++e) own.push_back(choice[e].first);
      std::sort(own.begin(), own.end());
      groups.push_back({o.worth == group_worth::best ? own[0] : own[0] + own[1], static_cast<i64>(g)});
    }
    std::sort(groups.begin(), groups.end());
    std::vector<std::pair<double, i64>> open;
    for (std::size_t g = 0; g < static_cast<std::size_t>(o.kept_groups); ++g)
      for (std::size_t e = 0; e < size; ++e) open.push_back(choice[static_cast<std::size_t>(groups[g].second) * size + e]);
    std::sort(open.begin(), open.end());
    for (i64 j = 0; j < k; ++j) ids.push_back(open[static_cast<std::size_t>(j)].second);
    double sum = 0;
    for (std::size_t j = 0; j < ids.size(); ++j) {
      const auto at = static_cast<std::size_t>(ids[j]);
      double score = probabilities[at];
      if (o.scoring == router_scoring::sparsemixer) {
        double near = 0;
        for (std::size_t e = 0; e < experts; ++e) {
          const bool left_out = j == 1 && static_cast<i64>(e) == ids[0];
          if (!left_out && (l[at] - l[e]) / std::max(std::abs(l[e]), l[at]) <= o.nearness) near += std::exp(l[e]);
        }
        score = std::exp(l[at]) / near;
      }
      scores.push_back(score);
      sum += score;
    }
    for (double& s : scores) s *= o.factor / (o.normalise ? std::max(sum, o.smallest_sum) + o.epsilon : 1);
  }
};

struct router_case {
  const char* name;
  router_options options;
  bool biased = false;
};
const router_case router_cases[] = {
    {"softmax, bias, floor", {.normalise = true, .smallest_sum = 1e-12}, true},
    {"softmax, a floor above the sum", {.normalise = true, .smallest_sum = 2, .factor = 3}, false},
    {"softmax, best groups", {.factor = 16, .groups = 4, .kept_groups = 2}, false},
    {"sigmoid", {.scoring = router_scoring::sigmoid}, false},
    {"sigmoid, bias, renormalised", {.scoring = router_scoring::sigmoid, .normalise = true}, true},
    {"sigmoid, bias, groups by their two best",
     {.scoring = router_scoring::sigmoid, .normalise = true, .epsilon = 1e-20, .factor = 2.5, .groups = 4, .kept_groups = 2, .worth = group_worth::two_best},
     true},
    {"sigmoid, bias, groups, large epsilon",
     {.scoring = router_scoring::sigmoid, .normalise = true, .epsilon = 0.5, .groups = 2, .kept_groups = 1, .worth = group_worth::two_best},
     true},
    {"sparsemixer", {.scoring = router_scoring::sparsemixer, .nearness = 0.02}, false},
    {"sparsemixer, wide", {.scoring = router_scoring::sparsemixer, .nearness = 0.9}, false},
    {"sparsemixer, renormalised", {.scoring = router_scoring::sparsemixer, .normalise = true, .factor = 2, .nearness = 0.9}, false},
};

}  // namespace

TEST_CASE("cpu router: forward against a double reference") {
  for (dtype type : float_types) {
    for (bool normalise : {false, true}) {
      for (i64 k : {1, 3, 10}) {
        const i64 T = 20, E = 10;
        tensor logits = random(type, {T, E}, -4, 4);
        routed r = route(logits, k, normalise);
        std::vector<double> p, s;
        for (i64 t = 0; t < T; ++t) {
          std::vector<i64> order;
          double total = 0, kept = 0;
          for (i64 e = 0; e < E; ++e) {
            total += std::exp(logits[t * E + e]);
            order.push_back(e);
          }
          for (i64 e = 0; e < E; ++e) p.push_back(std::exp(logits[t * E + e]) / total);
          std::stable_sort(order.begin(), order.end(), [&](i64 a, i64 b) { return logits[t * E + a] > logits[t * E + b]; });
          for (i64 j = 0; j < k; ++j) {
            CHECK(r.ids[t * k + j] == static_cast<double>(order[static_cast<std::size_t>(j)]));
            kept += p[static_cast<std::size_t>(t * E + order[static_cast<std::size_t>(j)])];
          }
          for (i64 j = 0; j < k; ++j) {
            s.push_back(p[static_cast<std::size_t>(t * E + order[static_cast<std::size_t>(j)])] / (normalise ? kept : 1));
          }
        }
        check_close(r.probabilities, p, type == dtype::f64 ? 1e-14 : 3e-7);
        check_close(r.scores, s, type == dtype::f32 ? 3e-7 : tolerance(type));
      }
    }
  }
}

TEST_CASE("cpu router: ties go to the lower id") {
  tensor logits = of<int>(dtype::f32, {2, 5}, {1, 3, 3, 1, 3, 0, 0, 0, 0, 0});
  routed r = route(logits, 4, true);
  const int want[] = {1, 2, 4, 0, 0, 1, 2, 3};
  for (i64 i = 0; i < 8; ++i) CHECK(r.ids[i] == want[i]);
  CHECK(r.scores[4] == 0.25);
}

TEST_CASE("cpu router: rows that are not finite raise the fault and give zeros") {
  for (dtype type : float_types) {
    for (double bad : {std::nan(""), static_cast<double>(INFINITY), -static_cast<double>(INFINITY)}) {
      tensor logits = random(type, {3, 40});
      logits.set(40 + 7, bad);
      fault_record faults;
      routed r = route(logits, 2, true, &faults);
      CHECK(faults.kind() == fault::nan_router_logits);
      CHECK(faults.where() == 1);
      for (i64 e = 0; e < 40; ++e) CHECK(r.probabilities[40 + e] == 0);
      CHECK(r.ids[2] == 0);
      CHECK(r.ids[3] == 1);
      CHECK(r.scores[2] == 0);
      CHECK(r.scores[3] == 0);
      CHECK(r.scores[0] + r.scores[1] == doctest::Approx(1).epsilon(0.01));
      route(logits, 40, false);  // no record to write to
      tensor dscores = random(type, {3, 2}), dlogits(type, {3, 40});
      gradient(logits, r, dscores, {.normalise = true}, dlogits);
      for (i64 e = 0; e < 40; ++e) CHECK(dlogits[40 + e] == 0);
    }
  }
}

TEST_CASE("cpu router: gradient") {
  for (bool normalise : {false, true}) {
    for (i64 k : {1, 2, 5}) {
      tensor logits = random(dtype::f64, {4, 5}, -2, 2), dscores = random(dtype::f64, {4, k}), dlogits(dtype::f64, {4, 5});
      routed r = route(logits, k, normalise);
      gradient(logits, r, dscores, {.normalise = normalise}, dlogits);
      check_gradient(logits, dlogits, [&] { return weighted_sum(route(logits, k, normalise).scores, dscores); });
      tensor logits32 = converted(logits, dtype::f32), d32 = converted(dscores, dtype::f32), out(dtype::f32, {4, 5});
      routed r32 = route(logits32, k, normalise);
      gradient(logits32, r32, d32, {.normalise = normalise}, out);
      check_close(out, dlogits, 1e-6);
      r.ids.fill(99);  // not an expert: no gradient, no reading past the row
      gradient(logits, r, dscores, {.normalise = normalise}, dlogits);
      for (i64 i = 0; i < 20; ++i) CHECK(dlogits[i] == 0);
    }
  }
}

TEST_CASE("cpu router: every option against a double reference, and its gradient") {
  const i64 T = 30, E = 12, k = 2;
  for (const router_case& each : router_cases) {
    INFO(std::string(each.name));
    tensor l64 = random(dtype::f64, {T, E}, -3, 3), bias64 = random(dtype::f64, {1, E}, -0.5, 0.5), dscores = random(dtype::f64, {T, k}),
           dlogits(dtype::f64, {T, E});
    for (dtype type : float_types) {
      tensor logits = converted(l64, type), bias = converted(bias64, statistic_of(type));
      routed r = route(logits, k, each.options, each.biased ? &bias : nullptr);
      std::vector<double> p, s;
      for (i64 t = 0; t < T; ++t) {
        std::vector<double> row, added;
        for (i64 e = 0; e < E; ++e) row.push_back(logits[t * E + e]);
        for (i64 e = 0; e < E && each.biased; ++e) added.push_back(bias[e]);
        const reference want(row, added, k, each.options);
        for (i64 j = 0; j < k; ++j) CHECK(r.ids[t * k + j] == static_cast<double>(want.ids[static_cast<std::size_t>(j)]));
        p.insert(p.end(), want.probabilities.begin(), want.probabilities.end());
        s.insert(s.end(), want.scores.begin(), want.scores.end());
      }
      check_close(r.probabilities, p, type == dtype::f64 ? 1e-14 : 3e-7);
      check_close(r.scores, s, type == dtype::f32 ? 2e-6 : 8 * tolerance(type));  // factors of up to 16
    }
    tensor* const bias = each.biased ? &bias64 : nullptr;
    routed r = route(l64, k, each.options, bias);
    gradient(l64, r, dscores, each.options, dlogits);
    check_gradient(l64, dlogits, [&] { return weighted_sum(route(l64, k, each.options, bias).scores, dscores); });
    l64.set(E + 3, std::nan(""));
    r = route(l64, k, each.options, bias);
    gradient(l64, r, dscores, each.options, dlogits);
    for (i64 e = 0; e < E; ++e) CHECK(dlogits[E + e] == 0);
    double others = 0;
    for (i64 i = 2 * E; i < T * E; ++i) others += std::abs(dlogits[i]);
    CHECK(others > 0);
  }
}

TEST_CASE("cpu router: a bias decides the choice and nothing else") {
  tensor logits = of<double>(dtype::f64, {1, 4}, {1, 2, 3, 4}), bias = of<double>(dtype::f64, {4}, {5, 0, 0, 0});
  routed r = route(logits, 2, {.normalise = false}, &bias);
  CHECK(r.ids[0] == 0);
  CHECK(r.ids[1] == 3);
  const double total = std::exp(1.0) + std::exp(2.0) + std::exp(3.0) + std::exp(4.0);
  CHECK(r.scores[0] == doctest::Approx(std::exp(1.0) / total).epsilon(1e-14));
}

TEST_CASE("cpu router: equal groups, the lower one") {
  tensor logits = of<int>(dtype::f32, {1, 8}, {0, 0, 1, 1, 1, 1, 0, 0});
  routed r = route(logits, 3, {.scoring = router_scoring::sigmoid, .groups = 4, .kept_groups = 2, .worth = group_worth::two_best});
  for (i64 j = 0; j < 3; ++j) CHECK(r.ids[j] == 2 + j);
  logits = of<int>(dtype::f32, {1, 8}, {1, 1, 1, 1, 1, 1, 1, 1});
  r = route(logits, 2, {.groups = 4, .kept_groups = 1});
  CHECK(r.ids[0] + 2 * r.ids[1] == 2);
}

TEST_CASE("cpu router statistics and their gradient") {
  const i64 T = 9, E = 6, k = 2;
  tensor logits = random(dtype::f64, {T, E}), valid = of<int>(dtype::u8, {T}, {1, 0, 1, 1, 0, 1, 1, 7, 0});
  routed r = route(logits, k, true);
  std::vector<double> counts(6), sums(6);
  for (i64 t = 0; t < T; ++t) {
    if (valid[t] == 0) continue;
    for (i64 e = 0; e < E; ++e) sums[static_cast<std::size_t>(e)] += r.probabilities[t * E + e];
    for (i64 j = 0; j < k; ++j) counts[static_cast<std::size_t>(r.ids[t * k + j])] += 1;
  }
  for (dtype count_type : {dtype::f32, dtype::f64, dtype::i32, dtype::i64}) {
    tensor c(count_type, {E}), p(dtype::f64, {E});
    c.fill(5);
    p.fill(5);
    cpu.router_statistics(plain, r.probabilities.v(), r.ids.v(), valid.v(), c.v(), p.v());
    check_close(c, counts, 0);
    check_close(p, sums, 1e-14);
  }
  tensor p(dtype::f64, {E}), weights = random(dtype::f64, {E}), dlogits(dtype::f64, {T, E}), c(dtype::f64, {E});
  cpu.router_statistics_gradient(plain, r.probabilities.v(), valid.v(), weights.v(), dlogits.v());
  check_gradient(logits, dlogits, [&] {
    routed again = route(logits, k, true);
    cpu.router_statistics(plain, again.probabilities.v(), again.ids.v(), valid.v(), c.v(), p.v());
    return weighted_sum(p, weights);
  });
  for (i64 e = 0; e < E; ++e) CHECK(dlogits[E + e] == 0);  // token 1 is not valid
}

TEST_CASE("cpu router: no tokens") {
  const view logits{nullptr, dtype::f32, 2, {0, 4}}, ids{nullptr, dtype::i32, 2, {0, 2}}, scores{nullptr, dtype::f32, 2, {0, 2}};
  for (const router_case& each : router_cases) {
    cpu.router(plain, logits, view{}, each.options, logits, ids, scores);
    cpu.router_gradient(plain, logits, logits, ids, scores, each.options, logits);
  }
  tensor c(dtype::f32, {4}), p(dtype::f32, {4});
  c.fill(3);
  p.fill(3);
  cpu.router_statistics(plain, logits, ids, view{}, c.v(), p.v());
  for (i64 e = 0; e < 4; ++e) CHECK(c[e] + p[e] == 0);
}
