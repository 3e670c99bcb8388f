#include "support.hpp"

using namespace cpu_test;

namespace {

struct routed {
  tensor probabilities, ids, scores;
  routed(dtype type, i64 T, i64 E, i64 k)
      : probabilities(statistic_of(type), {T, E}), ids(dtype::i32, {T, k}), scores(type, {T, k}) {}
};

routed route(tensor& logits, i64 k, bool normalise, fault_record* faults = nullptr) {
  routed r(logits.type, logits.extent[0], logits.extent[1], k);
  execution ex;
  ex.faults = faults;
  cpu.router(ex, logits.v(), normalise, r.probabilities.v(), r.ids.v(), r.scores.v());
  return r;
}

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
      cpu.router_gradient(plain, r.probabilities.v(), r.ids.v(), dscores.v(), true, dlogits.v());
      for (i64 e = 0; e < 40; ++e) CHECK(dlogits[40 + e] == 0);
    }
  }
}

TEST_CASE("cpu router: gradient") {
  for (bool normalise : {false, true}) {
    for (i64 k : {1, 2, 5}) {
      tensor logits = random(dtype::f64, {4, 5}, -2, 2), dscores = random(dtype::f64, {4, k}), dlogits(dtype::f64, {4, 5});
      routed r = route(logits, k, normalise);
      cpu.router_gradient(plain, r.probabilities.v(), r.ids.v(), dscores.v(), normalise, dlogits.v());
      check_gradient(logits, dlogits, [&] { return weighted_sum(route(logits, k, normalise).scores, dscores); });
      tensor logits32 = converted(logits, dtype::f32), d32 = converted(dscores, dtype::f32), out(dtype::f32, {4, 5});
      routed r32 = route(logits32, k, normalise);
      cpu.router_gradient(plain, r32.probabilities.v(), r32.ids.v(), d32.v(), normalise, out.v());
      check_close(out, dlogits, 1e-6);
      r.ids.fill(99);  // not an expert: no gradient, no reading past the row
      cpu.router_gradient(plain, r.probabilities.v(), r.ids.v(), dscores.v(), normalise, dlogits.v());
      for (i64 i = 0; i < 20; ++i) CHECK(dlogits[i] == 0);
    }
  }
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
  cpu.router(plain, logits, true, logits, ids, scores);
  cpu.router_gradient(plain, logits, ids, scores, true, logits);
  tensor c(dtype::f32, {4}), p(dtype::f32, {4});
  c.fill(3);
  p.fill(3);
  cpu.router_statistics(plain, logits, ids, view{}, c.v(), p.v());
  for (i64 e = 0; e < 4; ++e) CHECK(c[e] + p[e] == 0);
}
