#include <utility>

#include "plait/cpu/matmul_blas.hpp"
#include "support.hpp"

using namespace cpu_test;

namespace {

double at(const tensor& m, bool transposed, i64 row, i64 column) {
  return transposed ? m[column * m.extent[1] + row] : m[row * m.extent[1] + column];
}

void check_product(i64 M, i64 N, i64 K, dtype in, dtype out, bool ta, bool tb, bool accumulate, int threads = 1) {
  CAPTURE(M);
  CAPTURE(N);
  CAPTURE(K);
  CAPTURE(name_of(in));
  CAPTURE(ta);
  CAPTURE(tb);
  CAPTURE(accumulate);
  tensor a = random(in, ta ? std::vector<i64>{K, M} : std::vector<i64>{M, K});
  tensor b = random(in, tb ? std::vector<i64>{N, K} : std::vector<i64>{K, N});
  tensor c = random(out, {M, N});
  std::vector<double> want(static_cast<std::size_t>(M * N));
  for (i64 i = 0; i < M; ++i) {
    for (i64 j = 0; j < N; ++j) {
      double total = accumulate ? c[i * N + j] : 0;
      for (i64 p = 0; p < K; ++p) total += at(a, ta, i, p) * at(b, tb, p, j);
      want[static_cast<std::size_t>(i * N + j)] = total;
    }
  }
  execution ex;
  ex.threads = threads;
  cpu.matmul(ex, a.v(), ta, b.v(), tb, c.v(), accumulate);
  check_close(c, want, tolerance(out) * (1 + std::sqrt(static_cast<double>(K)) / 4));
}

}  // namespace

TEST_CASE("cpu matmul: all transposes, types and odd sizes against a double sum") {
  for (dtype type : float_types) {
    for (int t = 0; t < 8; ++t) {
      for (i64 M : {1, 5, 12, 13, 40}) {
        for (i64 N : {1, 16, 31, 33, 64}) {
          for (i64 K : {1, 7, 32}) check_product(M, N, K, type, type, t & 1, t & 2, t & 4);
        }
      }
    }
  }
}

TEST_CASE("cpu matmul: several blocks in every dim") {
  for (dtype type : float_types) {
    for (int t = 0; t < 4; ++t) {
      check_product(203, 37, 300, type, type, t & 1, t & 2, true);
      check_product(9, 1100, 40, type, type, t & 1, t & 2, false);
    }
  }
  check_product(530, 520, 12, dtype::bf16, dtype::bf16, false, true, true);
}

TEST_CASE("cpu matmul: a wider output") {
  for (int t = 0; t < 4; ++t) {
    check_product(20, 33, 50, dtype::bf16, dtype::f32, t & 1, t & 2, true);
    check_product(20, 33, 50, dtype::f32, dtype::f64, t & 1, t & 2, true);
  }
}

TEST_CASE("cpu matmul: bf16 is rounded once") {
  tensor a = random(dtype::bf16, {30, 700}), b = random(dtype::bf16, {700, 20}), narrow(dtype::bf16, {30, 20}),
         wide(dtype::f32, {30, 20});
  cpu.matmul(plain, a.v(), false, b.v(), false, narrow.v(), false);
  cpu.matmul(plain, a.v(), false, b.v(), false, wide.v(), false);
  CHECK(same_bytes(narrow, converted(wide, dtype::bf16)));
}

TEST_CASE("cpu matmul: the summed dim may be empty, and so may the others") {
  tensor a(dtype::f32, {3, 0}), b(dtype::f32, {0, 4}), c = random(dtype::f32, {3, 4}), kept = c;
  cpu.matmul(plain, a.v(), false, b.v(), false, c.v(), true);
  CHECK(same_bytes(c, kept));
  cpu.matmul(plain, a.v(), false, b.v(), false, c.v(), false);
  for (i64 i = 0; i < 12; ++i) CHECK(c[i] == 0);
  tensor d(dtype::bf16, {3, 4}), ab(dtype::bf16, {3, 0}), bb(dtype::bf16, {0, 4});
  d.fill(1);
  cpu.matmul(plain, ab.v(), false, bb.v(), false, d.v(), false);
  for (i64 i = 0; i < 12; ++i) CHECK(d[i] == 0);
  const view none{nullptr, dtype::f32, 2, {0, 5}}, weight{nullptr, dtype::f32, 2, {5, 0}};
  cpu.matmul(plain, none, false, weight, false, view{nullptr, dtype::f32, 2, {0, 0}}, false);
}

TEST_CASE("cpu matmul: the same bits on any number of threads, and for any part of the rows") {
  const bool blas = std::exchange(blas_products(), false);
  for (dtype type : float_types) {
    tensor a = random(type, {200, 300}), b = random(type, {70, 300}), one(type, {200, 70}), some(type, {200, 70});
    cpu.matmul(plain, a.v(), false, b.v(), true, one.v(), false);
    for (int threads : {2, 3, 7}) {
      execution ex;
      ex.threads = threads;
      some.fill(-1);
      cpu.matmul(ex, a.v(), false, b.v(), true, some.v(), false);
      CHECK(same_bytes(one, some));
    }
    for (i64 rows : {1, 5, 11}) {
      tensor few(type, {rows, 300}), part(type, {rows, 70}), want(type, {rows, 70});
      for (i64 i = 0; i < rows * 300; ++i) few.set(i, a[i]);
      for (i64 i = 0; i < rows * 70; ++i) want.set(i, one[i]);
      cpu.matmul(plain, few.v(), false, b.v(), true, part.v(), false);
      CHECK(same_bytes(part, want));
    }
    tensor bt(type, {70, 200}), flipped(type, {70, 200});  // split by columns
    for (int threads : {1, 3}) {
      execution ex;
      ex.threads = threads;
      cpu.matmul(ex, b.v(), false, a.v(), true, (threads == 1 ? bt : flipped).v(), false);
    }
    CHECK(same_bytes(bt, flipped));
  }
  blas_products() = blas;
}

TEST_CASE("cpu matmul: through a BLAS, if the build has one") {
  const bool blas = std::exchange(blas_products(), true);
  for (dtype type : {dtype::f32, dtype::f64}) {
    for (int t = 0; t < 8; ++t) check_product(70, 90, 65, type, type, t & 1, t & 2, t & 4);
  }
  blas_products() = blas;
}

TEST_CASE("cpu matmul: large f32 close to f64") {
  tensor a = random(dtype::f64, {150, 1000}), b = random(dtype::f64, {1000, 130}), c(dtype::f64, {150, 130});
  tensor a32 = converted(a, dtype::f32), b32 = converted(b, dtype::f32), c32(dtype::f32, {150, 130});
  cpu.matmul(plain, a.v(), false, b.v(), false, c.v(), false);
  cpu.matmul(plain, a32.v(), false, b32.v(), false, c32.v(), false);
  check_close(c32, c, 2e-5);
}
