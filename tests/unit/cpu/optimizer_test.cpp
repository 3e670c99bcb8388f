#include "support.hpp"

using namespace cpu_test;

TEST_CASE("cpu adamw: several steps against a scalar reference") {
  for (double beta1 : {0.9, 0.3}) {
    for (dtype master : {dtype::f32, dtype::f64}) {
      for (dtype gradient : float_types) {
        const i64 n = 50;
        tensor p = random(master, {n}), m = zeros(master, {n}), v = zeros(master, {n});
        std::vector<double> rp, rm(50), rv(50);
        for (i64 i = 0; i < n; ++i) rp.push_back(p[i]);
        adamw_options o;
        o.learning_rate = 0.01;
        o.beta1 = beta1;
        o.weight_decay = 0.1;
        o.gradient_scale = 0.5;
        for (int step = 1; step <= 5; ++step) {
          tensor g = random(gradient, {n});
          o.step = step;
          cpu.adamw(plain, p.v(), g.v(), m.v(), v.v(), view{}, o);
          for (std::size_t i = 0; i < 50; ++i) {
            const double d = g[static_cast<i64>(i)] * 0.5;
            rp[i] -= 0.01 * 0.1 * rp[i];
            rm[i] = beta1 * rm[i] + (1 - beta1) * d;
            rv[i] = 0.999 * rv[i] + 0.001 * d * d;
            const double denominator = std::sqrt(rv[i]) / std::sqrt(1 - std::pow(0.999, step)) + 1e-8;
            rp[i] -= 0.01 / (1 - std::pow(beta1, step)) * rm[i] / denominator;
          }
        }
        const double allowed = master == dtype::f64 ? 1e-12 : 1e-6;
        check_close(p, rp, allowed);
        check_close(m, rm, allowed);
        check_close(v, rv, allowed);
      }
    }
  }
}

static tensor in_type(tensor& t, dtype type) {
  tensor out(type, t.extent);
  cpu.cast(plain, t.v(), out.v());
  return out;
}

TEST_CASE("cpu adamw: bf16 states are rounded once a step, and the copy holds the new weights") {
  const i64 n = 70;
  for (dtype gradient : {dtype::f32, dtype::bf16}) {
    tensor p = random(dtype::bf16, {n}), m = random(dtype::bf16, {n}), v = random(dtype::bf16, {n}, 0.0, 1.0), g = random(gradient, {n});
    tensor wide_p = in_type(p, dtype::f32), wide_m = in_type(m, dtype::f32), wide_v = in_type(v, dtype::f32), copy = zeros(dtype::bf16, {n}), rounded = copy;
    adamw_options o;
    o.step = 4;
    o.learning_rate = 0.01;
    cpu.adamw(plain, p.v(), g.v(), m.v(), v.v(), copy.v(), o);
    cpu.adamw(plain, wide_p.v(), g.v(), wide_m.v(), wide_v.v(), rounded.v(), o);
    CHECK(same_bytes(p, rounded));
    CHECK(same_bytes(copy, rounded));
    for (const auto& [narrow, wide] : {std::pair<tensor&, tensor&>{m, wide_m}, {v, wide_v}}) CHECK(same_bytes(narrow, in_type(wide, dtype::bf16)));
  }
}

TEST_CASE("cpu adamw: a zero gradient only decays, and nothing is nothing") {
  tensor p = of<int>(dtype::f32, {2}, {1, -2}), g = zeros(dtype::f32, {2}), m = zeros(dtype::f32, {2}),
         v = zeros(dtype::f32, {2});
  adamw_options o;
  o.learning_rate = 0.5;
  o.weight_decay = 0.5;
  cpu.adamw(plain, p.v(), g.v(), m.v(), v.v(), view{}, o);
  CHECK(p[0] == 0.75);
  CHECK(p[1] == -1.5);
  const view none{nullptr, dtype::f32, 1, {0}};
  cpu.adamw(plain, none, none, none, none, view{}, o);
  tensor total(dtype::f64, {1});
  cpu.sum_of_squares(plain, none, total.v());
  CHECK(total[0] == 0);
}

TEST_CASE("cpu sum_of_squares") {
  for (dtype type : float_types) {
    tensor x = random(type, {3, 777});
    double want = 0;
    for (i64 i = 0; i < x.size(); ++i) want += x[i] * x[i];
    tensor total = of<double>(dtype::f64, {1}, {3});  // added to
    cpu.sum_of_squares(plain, x.v(), total.v());
    CHECK(total[0] == doctest::Approx(want + 3).epsilon(1e-13));
  }
}
