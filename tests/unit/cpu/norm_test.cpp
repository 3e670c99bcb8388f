#include "support.hpp"

using namespace cpu_test;

TEST_CASE("cpu rms_norm: forward") {
  for (dtype type : float_types) {
    for (i64 n : {1, 3, 64, 201}) {
      tensor x = random(type, {2, 3, n}, -2, 2), w = random(type, {n}), y(type, {2, 3, n}), inverse(statistic_of(type), {6});
      cpu.rms_norm(plain, x.v(), w.v(), 1e-6, y.v(), inverse.v());
      std::vector<double> want, stats;
      for (i64 r = 0; r < 6; ++r) {
        double squares = 0;
        for (i64 c = 0; c < n; ++c) squares += x[r * n + c] * x[r * n + c];
        stats.push_back(1 / std::sqrt(squares / static_cast<double>(n) + 1e-6));
        for (i64 c = 0; c < n; ++c) {
          double normal = x[r * n + c] * stats.back();
          if (type == dtype::bf16) normal = static_cast<double>(static_cast<float>(bfloat16(static_cast<float>(normal))));
          want.push_back(w[c] * normal);
        }
      }
      check_close(y, want, type == dtype::f32 ? 5e-7 : tolerance(type));
      check_close(inverse, stats, type == dtype::f64 ? 1e-14 : 3e-7);
      tensor again(type, {2, 3, n});
      cpu.rms_norm(plain, x.v(), w.v(), 1e-6, again.v(), view{});
      CHECK(same_bytes(y, again));
    }
  }
}

TEST_CASE("cpu rms_norm: gradients against finite differences") {
  tensor x = random(dtype::f64, {4, 7}), w = random(dtype::f64, {7}), y(dtype::f64, {4, 7}), inverse(dtype::f64, {4});
  tensor dy = random(dtype::f64, {4, 7}), dx(dtype::f64, {4, 7}), dw = zeros(dtype::f64, {7});
  const auto loss = [&] {
    cpu.rms_norm(plain, x.v(), w.v(), 1e-3, y.v(), inverse.v());
    return weighted_sum(y, dy);
  };
  loss();
  cpu.rms_norm_gradient(plain, x.v(), w.v(), inverse.v(), dy.v(), dx.v(), dw.v());
  tensor inverse_kept = inverse;
  check_gradient(x, dx, loss);
  check_gradient(w, dw, loss);
  tensor twice = dw, only_x(dtype::f64, {4, 7});
  cpu.rms_norm_gradient(plain, x.v(), w.v(), inverse_kept.v(), dy.v(), view{}, twice.v());
  for (i64 c = 0; c < 7; ++c) CHECK(twice[c] == doctest::Approx(2 * dw[c]));
  cpu.rms_norm_gradient(plain, x.v(), w.v(), inverse_kept.v(), dy.v(), only_x.v(), view{});
  CHECK(same_bytes(only_x, dx));

  for (dtype type : {dtype::f32, dtype::bf16}) {
    tensor xs = converted(x, type), ws = converted(w, type), ys(type, {4, 7}), is(dtype::f32, {4}), dys = converted(dy, type);
    tensor dxs(type, {4, 7}), dws = zeros(dtype::f32, {7});
    cpu.rms_norm(plain, xs.v(), ws.v(), 1e-3, ys.v(), is.v());
    cpu.rms_norm_gradient(plain, xs.v(), ws.v(), is.v(), dys.v(), dxs.v(), dws.v());
    check_close(dxs, dx, type == dtype::f32 ? 3e-6 : 0.05);
    check_close(dws, dw, type == dtype::f32 ? 3e-6 : 0.05);
  }
}

TEST_CASE("cpu rms_norm: no rows") {
  tensor w = random(dtype::f32, {4}), dw = w;
  const view x{nullptr, dtype::f32, 2, {0, 4}}, r{nullptr, dtype::f32, 1, {0}};
  cpu.rms_norm(plain, x, w.v(), 1e-6, x, r);
  cpu.rms_norm_gradient(plain, x, w.v(), r, x, x, dw.v());
  CHECK(same_bytes(w, dw));
}

TEST_CASE("cpu centre_rows: forward, and its own adjoint") {
  for (dtype type : float_types)
    for (i64 n : {1, 3, 201}) {
      tensor x = random(type, {4, n}, -2, 2), y(type, {4, n});
      cpu.centre_rows(plain, x.v(), y.v());
      std::vector<double> want;
      for (i64 r = 0; r < 4; ++r) {
        double mean = 0;
        for (i64 c = 0; c < n; ++c) mean += x[r * n + c] / static_cast<double>(n);
        for (i64 c = 0; c < n; ++c) want.push_back(x[r * n + c] - mean);
      }
      check_close(y, want, type == dtype::f32 ? 5e-7 : tolerance(type));
    }
  tensor x = random(dtype::f64, {4, 7}), y(dtype::f64, {4, 7}), dy = random(dtype::f64, {4, 7}), dx(dtype::f64, {4, 7});
  cpu.centre_rows(plain, dy.v(), dx.v());
  check_gradient(x, dx, [&] {
    cpu.centre_rows(plain, x.v(), y.v());
    return weighted_sum(y, dy);
  });
  const view none{nullptr, dtype::f32, 2, {0, 4}};
  cpu.centre_rows(plain, none, none);
}
