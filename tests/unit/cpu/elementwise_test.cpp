#include "support.hpp"

using namespace cpu_test;

TEST_CASE("cpu elementwise: casts") {
  tensor x = random(dtype::f64, {37}, -100, 100);
  for (dtype from : float_types) {
    tensor a = converted(x, from);
    for (dtype to : float_types) {
      tensor b(to, {37});
      cpu.cast(plain, a.v(), b.v());
      CHECK(same_bytes(b, converted(a, to)));
    }
  }
  tensor ids = of<int>(dtype::i32, {3}, {-1, 7, 2000000000}), wide(dtype::i64, {3});
  cpu.cast(plain, ids.v(), wide.v());
  for (i64 i = 0; i < 3; ++i) CHECK(wide[i] == ids[i]);
}

TEST_CASE("cpu elementwise: bf16 rounds to nearest even and keeps NaN") {
  tensor x = of<float>(dtype::f32, {5}, {1.00390625f, 1.01171875f, 0, 3e38f, -2}), y(dtype::bf16, {5});
  x.as<float>()[2] = std::numeric_limits<float>::quiet_NaN();
  cpu.cast(plain, x.v(), y.v());
  CHECK(y[0] == 1.0);       // halfway to 1 + 1/128: to even
  CHECK(y[1] == 1.015625);  // halfway between 1 + 1/128 and 1 + 2/128: to even
  CHECK(std::isnan(y[2]));
  CHECK(y[4] == -2);
}

TEST_CASE("cpu elementwise: add, accumulate, scale") {
  for (dtype type : float_types) {
    tensor a = random(type, {4, 9}), b = random(type, {4, 9}), out(type, {4, 9});
    std::vector<double> want;
    for (i64 i = 0; i < 36; ++i) want.push_back(a[i] + b[i]);
    cpu.add(plain, a.v(), b.v(), out.v());
    check_close(out, want, tolerance(type));
    tensor c = a;
    cpu.add(plain, c.v(), b.v(), c.v());
    CHECK(same_bytes(c, out));
    for (dtype to : float_types) {
      tensor d = random(to, {4, 9});
      std::vector<double> sums;
      for (i64 i = 0; i < 36; ++i) sums.push_back(d[i] + a[i]);
      cpu.accumulate(plain, a.v(), d.v());
      check_close(d, sums, tolerance(to));
    }
    std::vector<double> scaled;
    for (i64 i = 0; i < 36; ++i) scaled.push_back(a[i] * 0.3);
    cpu.scale(plain, a.v(), 0.3);
    check_close(a, scaled, tolerance(type));
  }
}

TEST_CASE("cpu elementwise: reduce sums in order and takes maxima") {
  const i64 n = 2500;  // more than two chunks
  for (dtype type : float_types) {
    std::vector<tensor> parts;
    std::vector<const void*> from;
    for (int r = 0; r < 5; ++r) parts.push_back(random(type, {n}));
    for (tensor& p : parts) from.push_back(p.storage.data());
    tensor out(type, {n}), top(type, {n}), want(type, {n}), largest(type, {n});
    for (i64 i = 0; i < n; ++i) {
      double exact = parts[0][i], best = parts[0][i];
      float single = static_cast<float>(parts[0][i]);
      for (std::size_t r = 1; r < 5; ++r) {
        exact += parts[r][i];
        single += static_cast<float>(parts[r][i]);
        best = std::max(best, parts[r][i]);
      }
      want.set(i, type == dtype::f64 ? exact : static_cast<double>(single));
      largest.set(i, best);
    }
    cpu.reduce(plain, from.data(), 5, out.v(), false);
    CHECK(same_bytes(out, want));
    cpu.reduce(plain, from.data(), 5, top.v(), true);
    CHECK(same_bytes(top, largest));
    cpu.reduce(plain, from.data(), 5, parts[3].v(), false);  // in place
    CHECK(same_bytes(parts[3], want));
    cpu.reduce(plain, from.data(), 1, out.v(), true);
    CHECK(same_bytes(out, parts[0]));
  }
  for (dtype type : {dtype::i32, dtype::i64, dtype::u8}) {
    tensor a = of<int>(type, {3}, {1, 20, 3}), b = of<int>(type, {3}, {10, 2, 3}), out(type, {3});
    const void* from[] = {a.storage.data(), b.storage.data()};
    cpu.reduce(plain, from, 2, out.v(), false);
    CHECK(out[0] == 11);
    CHECK(out[1] == 22);
    CHECK(out[2] == 6);
    cpu.reduce(plain, from, 2, out.v(), true);
    CHECK(out[0] == 10);
    CHECK(out[1] == 20);
    CHECK(out[2] == 3);
  }
}

TEST_CASE("cpu elementwise: the maximum of arrays keeps a NaN") {
  tensor a = of<double>(dtype::f32, {2}, {std::nan(""), 1}), b = of<double>(dtype::f32, {2}, {1, std::nan("")}),
         out(dtype::f32, {2});
  const void* from[] = {a.storage.data(), b.storage.data()};
  cpu.reduce(plain, from, 2, out.v(), true);
  CHECK(std::isnan(out[0]));
  CHECK(std::isnan(out[1]));
}

TEST_CASE("cpu elementwise: bias") {
  for (dtype type : float_types) {
    tensor x = random(type, {3, 5, 7}), bias = random(type, {7}), out(type, {3, 5, 7});
    std::vector<double> want, sums(7);
    for (i64 i = 0; i < x.size(); ++i) {
      want.push_back(x[i] + bias[i % 7]);
      sums[static_cast<std::size_t>(i % 7)] += x[i];
    }
    cpu.bias_add(plain, x.v(), bias.v(), out.v());
    check_close(out, want, tolerance(type));
    tensor dbias(type == dtype::bf16 ? dtype::f32 : type, {7});
    dbias.fill(2);
    for (double& s : sums) s += 2;
    cpu.bias_gradient(plain, x.v(), dbias.v());
    check_close(dbias, sums, tolerance(dbias.type));
    cpu.bias_add(plain, x.v(), bias.v(), x.v());
    CHECK(same_bytes(x, out));
  }
}

TEST_CASE("cpu elementwise: nothing to do") {
  tensor a(dtype::f32, {0, 4}), b(dtype::f32, {0, 4}), bias = random(dtype::f32, {4}), dbias = bias;
  const view empty{nullptr, dtype::f32, 2, {0, 4}};
  cpu.add(plain, empty, empty, empty);
  cpu.accumulate(plain, empty, empty);
  cpu.scale(plain, empty, 2);
  cpu.cast(plain, empty, empty);
  cpu.bias_add(plain, empty, bias.v(), empty);
  cpu.bias_gradient(plain, empty, dbias.v());
  CHECK(same_bytes(bias, dbias));
  cpu.reduce(plain, nullptr, 0, empty, false);
}
