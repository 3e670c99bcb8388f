#include "plait/cpu/lanes.hpp"
#include "support.hpp"

using namespace cpu_test;

TEST_CASE("cpu exponential: about one ulp, with infinities, NaN and denormals") {
  double worst = 0;
  for (int i = -1040000; i <= 890000; ++i) {
    const float x = static_cast<float>(i) * 1e-4f;
    const double exact = std::exp(static_cast<double>(x)), got = static_cast<double>(cpu_detail::exponential(x));
    if (exact > 3.4028234e38) {
      CHECK(got > 3.4e38);
      continue;
    }
    const float near = static_cast<float>(exact);
    const double ulp = static_cast<double>(std::nextafter(near, INFINITY) - near);
    worst = std::max(worst, std::abs(got - exact) / ulp);
  }
  MESSAGE("largest error in ulp: ", worst);
  CHECK(worst < 1.1);  // with and without fused multiply-add
  CHECK(cpu_detail::exponential(0.0f) == 1.0f);
  CHECK(cpu_detail::exponential(INFINITY) == INFINITY);
  CHECK(cpu_detail::exponential(-INFINITY) == 0.0f);
  CHECK(cpu_detail::exponential(1000.0f) == INFINITY);
  CHECK(std::isnan(cpu_detail::exponential(NAN)));
  CHECK(std::isnan(cpu_detail::exponential(-NAN)));
}

TEST_CASE("cpu swiglu: forward, packed and apart") {
  for (dtype type : float_types) {
    tensor packed = random(type, {3, 2 * 19}, -6, 6), gate(type, {3, 19}), up(type, {3, 19}), y(type, {3, 19}), z(type, {3, 19});
    std::vector<double> want;
    for (i64 r = 0; r < 3; ++r) {
      for (i64 c = 0; c < 19; ++c) {
        gate.set(r * 19 + c, packed[r * 38 + c]);
        up.set(r * 19 + c, packed[r * 38 + 19 + c]);
        want.push_back(gate[r * 19 + c] / (1 + std::exp(-gate[r * 19 + c])) * up[r * 19 + c]);
      }
    }
    cpu.swiglu(plain, packed.v(), {}, y.v());
    cpu.swiglu_pair(plain, gate.v(), up.v(), z.v());
    check_close(y, want, type == dtype::f32 ? 5e-7 : tolerance(type));
    CHECK(same_bytes(y, z));
  }
}

TEST_CASE("cpu gate_rows: one gate a row, and its gradients") {
  for (dtype type : float_types) {
    tensor x = random(type, {4, 7}, -2, 2), gate = random(type, {4, 1}, -5, 5), y(type, {4, 7});
    std::vector<double> want;
    for (i64 i = 0; i < 28; ++i) want.push_back(x[i] / (1 + std::exp(-gate[i / 7])));
    cpu.gate_rows(plain, x.v(), gate.v(), y.v());
    check_close(y, want, type == dtype::f32 ? 5e-7 : tolerance(type));
  }
  tensor x = random(dtype::f64, {4, 7}, -2, 2), gate = random(dtype::f64, {4, 1}, -2, 2), dy = random(dtype::f64, {4, 7}), y(dtype::f64, {4, 7}),
         dx(dtype::f64, {4, 7}), dgate(dtype::f64, {4, 1});
  const auto loss = [&] {
    cpu.gate_rows(plain, x.v(), gate.v(), y.v());
    return weighted_sum(y, dy);
  };
  cpu.gate_rows_gradient(plain, x.v(), gate.v(), dy.v(), dx.v(), dgate.v());
  check_gradient(x, dx, loss);
  check_gradient(gate, dgate, loss);
}

TEST_CASE("cpu gated activation: clamped, with an offset, gate and up in turn") {
  const gated_options kinds[] = {{.interleaved = true}, {.interleaved = true, .alpha = 1.702, .offset = 1, .limit = 2}, {.alpha = 0.5, .limit = 1}};
  for (const gated_options& o : kinds) {
    for (dtype type : float_types) {
      tensor packed = random(type, {3, 12}, -4, 4), y(type, {3, 6});
      std::vector<double> want;
      for (i64 i = 0; i < 18; ++i) {
        const i64 row = i / 6 * 12, c = i % 6;
        double g = packed[row + (o.interleaved ? 2 * c : c)], u = packed[row + (o.interleaved ? 2 * c + 1 : 6 + c)];
        if (o.limit > 0) g = std::min(g, o.limit), u = std::max(-o.limit, std::min(u, o.limit));
        want.push_back((u + o.offset) * g / (1 + std::exp(-o.alpha * g)));
      }
      cpu.swiglu(plain, packed.v(), o, y.v());
      check_close(y, want, tolerance(type));
    }
    tensor packed = random(dtype::f64, {3, 12}, -4, 4), dy = random(dtype::f64, {3, 6}), y(dtype::f64, {3, 6}), dpacked(dtype::f64, {3, 12});
    const auto loss = [&] {
      cpu.swiglu(plain, packed.v(), o, y.v());
      return weighted_sum(y, dy);
    };
    cpu.swiglu_gradient(plain, packed.v(), dy.v(), o, dpacked.v());
    check_gradient(packed, dpacked, loss);
  }
}

TEST_CASE("cpu gated activation: a NaN is not clamped away") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const i64 broken : {0, 1}) {  // the gate, then up
    tensor packed = random(dtype::f64, {1, 2}), dy = random(dtype::f64, {1, 1}), y(dtype::f64, {1, 1}), dpacked(dtype::f64, {1, 2});
    packed.set(broken, nan);
    cpu.swiglu(plain, packed.v(), {.limit = 1}, y.v());
    cpu.swiglu_gradient(plain, packed.v(), dy.v(), {.limit = 1}, dpacked.v());
    CHECK(std::isnan(y[0]));
    CHECK(std::isnan(dpacked[0]));
  }
}

TEST_CASE("cpu swiglu: gradients") {
  tensor packed = random(dtype::f64, {3, 10}, -3, 3), dy = random(dtype::f64, {3, 5}), y(dtype::f64, {3, 5}),
         dpacked(dtype::f64, {3, 10});
  const auto loss = [&] {
    cpu.swiglu(plain, packed.v(), {}, y.v());
    return weighted_sum(y, dy);
  };
  cpu.swiglu_gradient(plain, packed.v(), dy.v(), {}, dpacked.v());
  check_gradient(packed, dpacked, loss);
  for (dtype type : float_types) {
    tensor gate = random(type, {3, 5}), up = random(type, {3, 5}), both(type, {3, 10}), g = converted(dy, type);
    for (i64 i = 0; i < 15; ++i) {
      both.set(i / 5 * 10 + i % 5, gate[i]);
      both.set(i / 5 * 10 + 5 + i % 5, up[i]);
    }
    tensor dboth(type, {3, 10}), dgate(type, {3, 5}), dup(type, {3, 5});
    cpu.swiglu_gradient(plain, both.v(), g.v(), {}, dboth.v());
    cpu.swiglu_pair_gradient(plain, gate.v(), up.v(), g.v(), dgate.v(), dup.v());
    for (i64 i = 0; i < 15; ++i) {
      CHECK(dgate[i] == dboth[i / 5 * 10 + i % 5]);
      CHECK(dup[i] == dboth[i / 5 * 10 + 5 + i % 5]);
    }
    tensor wide = converted(both, dtype::f64), wide_g = converted(g, dtype::f64), wide_d(dtype::f64, {3, 10});
    cpu.swiglu_gradient(plain, wide.v(), wide_g.v(), {}, wide_d.v());
    check_close(dboth, wide_d, tolerance(type));
  }
  tensor far = of<double>(dtype::f32, {1, 4}, {-200, 200, 1, 1}), fy(dtype::f32, {1, 2}), fd(dtype::f32, {1, 4}),
         one = of<int>(dtype::f32, {1, 2}, {1, 1});
  cpu.swiglu(plain, far.v(), {}, fy.v());
  CHECK(fy[0] == 0);
  CHECK(fy[1] == 200);
  cpu.swiglu_gradient(plain, far.v(), one.v(), {}, fd.v());
  for (i64 i = 0; i < 4; ++i) CHECK(std::isfinite(fd[i]));
  const view none{nullptr, dtype::f32, 2, {0, 4}}, half{nullptr, dtype::f32, 2, {0, 2}};
  cpu.swiglu(plain, none, {}, half);
  cpu.swiglu_gradient(plain, none, half, {}, none);
}
