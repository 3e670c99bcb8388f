#include "support.hpp"

using namespace cpu_test;

namespace {

/// The loss over a vocabulary held in two slices, as two ranks would compute it. Gradients on request.
double split_loss(const tensor& logits, tensor& labels, i64 cut, double factor, tensor* dlogits = nullptr,
                  fault_record* faults = nullptr) {
  const i64 R = logits.extent[0], V = logits.extent[1];
  const dtype type = logits.type, stat = statistic_of(type);
  const i64 first[] = {0, cut}, width[] = {cut, V - cut};
  tensor slice[2], maximum[2], parts[2], total(stat, {2, R}), largest(stat, {R});
  execution ex;
  ex.faults = faults;
  for (int s = 0; s < 2; ++s) {
    slice[s] = tensor(type, {R, width[s]});
    maximum[s] = tensor(stat, {R});
    parts[s] = tensor(stat, {2, R});
    for (i64 i = 0; i < slice[s].size(); ++i) slice[s].set(i, logits[i / width[s] * V + first[s] + i % width[s]]);
    cpu.row_maximum(ex, slice[s].v(), maximum[s].v());
  }
  const void* maxima[] = {maximum[0].storage.data(), maximum[1].storage.data()};
  const void* sums[] = {parts[0].storage.data(), parts[1].storage.data()};
  cpu.reduce(ex, maxima, 2, largest.v(), true);
  for (int s = 0; s < 2; ++s) cpu.cross_entropy_parts(ex, slice[s].v(), largest.v(), labels.v(), first[s], V, parts[s].v());
  cpu.reduce(ex, sums, 2, total.v(), false);
  tensor loss(stat, {1});
  cpu.cross_entropy_sum(ex, total.v(), labels.v(), factor, loss.v());
  if (dlogits) {
    tensor dloss(stat, {1}), dparts(stat, {2, R});
    dloss.fill(1);
    cpu.cross_entropy_sum_gradient(ex, total.v(), labels.v(), factor, dloss.v(), dparts.v());
    for (int s = 0; s < 2; ++s) {
      tensor d(type, {R, width[s]});
      d.fill(8);
      cpu.cross_entropy_parts_gradient(ex, slice[s].v(), largest.v(), labels.v(), first[s], dparts.v(), d.v());
      for (i64 i = 0; i < d.size(); ++i) dlogits->set(i / width[s] * V + first[s] + i % width[s], d[i]);
    }
  }
  return loss[0];
}

}  // namespace

TEST_CASE("cpu argmax: the first of equal elements, none of a row that is not finite") {
  for (const dtype type : float_types) {
    tensor x(type, {6, 3}), places(dtype::i64, {6});
    const double rows[6][3] = {{1, 3, 2}, {-1, -1, -4}, {NAN, 5, 9}, {1, NAN, 0}, {-INFINITY, -INFINITY, -INFINITY}, {0, INFINITY, 1}};
    for (i64 i = 0; i < 18; ++i) x.set(i, rows[i / 3][i % 3]);
    cpu.argmax(plain, x.v(), places.v());
    const i64 want[6] = {1, 0, -1, -1, -1, -1};
    for (i64 r = 0; r < 6; ++r) CHECK(static_cast<i64>(places[r]) == want[r]);
    tensor none(type, {2, 0});
    cpu.argmax(plain, none.v(), places.v());
    CHECK(places[0] == -1);
  }
}

TEST_CASE("cpu cross entropy: value, split anywhere, with ignored rows") {
  const i64 R = 6, V = 2100;
  tensor labels = of<int>(dtype::i64, {R}, {0, 2099, -100, 1000, 1, 7});
  for (dtype type : float_types) {
    tensor logits = random(type, {R, V}, -8, 8);
    double want = 0;
    for (i64 r = 0; r < R; ++r) {
      if (labels[r] < 0) continue;
      double total = 0;
      for (i64 c = 0; c < V; ++c) total += std::exp(logits[r * V + c]);
      want += std::log(total) - logits[r * V + static_cast<i64>(labels[r])];
    }
    for (i64 cut : {0, 1, 1000, 2100}) {
      fault_record faults;
      CHECK(split_loss(logits, labels, cut, 0.2, nullptr, &faults) ==
            doctest::Approx(0.2 * want).epsilon(type == dtype::f64 ? 1e-13 : 1e-6));
      CHECK(faults.kind() == fault::none);
    }
  }
}

TEST_CASE("cpu cross entropy: gradient") {
  const i64 R = 4, V = 7;
  tensor labels = of<int>(dtype::i64, {R}, {3, 6, -100, 0}), logits = random(dtype::f64, {R, V}, -3, 3),
         dlogits(dtype::f64, {R, V});
  for (i64 cut : {0, 3, 7}) {
    split_loss(logits, labels, cut, 0.3, &dlogits);
    check_gradient(logits, dlogits, [&] { return split_loss(logits, labels, cut, 0.3); });
    for (i64 c = 0; c < V; ++c) CHECK(dlogits[2 * V + c] == 0);
    for (dtype type : {dtype::f32, dtype::bf16}) {
      tensor narrow = converted(logits, type), d(type, {R, V}), wide = converted(narrow, dtype::f64), dwide(dtype::f64, {R, V});
      split_loss(narrow, labels, cut, 0.3, &d);
      split_loss(wide, labels, cut, 0.3, &dwide);
      check_close(d, dwide, type == dtype::f32 ? 3e-7 : 0.003);
    }
  }
}

TEST_CASE("cpu cross entropy: labels out of range raise the fault and i64 nothing") {
  tensor logits = random(dtype::f32, {5, 4}), dlogits(dtype::f32, {5, 4}), labels(dtype::i64, {5});
  for (std::int64_t wild :
       {std::int64_t{4}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()}) {
    labels.fill(1);
    labels.as<std::int64_t>()[3] = wild;
    for (i64 cut : {0, 2, 4}) {
      fault_record faults;
      const double loss = split_loss(logits, labels, cut, 1, &dlogits, &faults);
      CHECK(faults.kind() == fault::label_out_of_range);
      CHECK(faults.where() == 3);
      CHECK(std::isfinite(loss));
      for (i64 i = 0; i < 20; ++i) CHECK(std::isfinite(dlogits[i]));
    }
  }
}

TEST_CASE("cpu cross entropy: NaN in an ignored row does not reach its gradient; no rows") {
  tensor logits = random(dtype::f32, {2, 5}), dlogits(dtype::f32, {2, 5}), labels = of<int>(dtype::i64, {2}, {-100, 2});
  logits.set(1, std::nan(""));
  const double loss = split_loss(logits, labels, 5, 1, &dlogits);
  CHECK(std::isfinite(loss));
  for (i64 c = 0; c < 5; ++c) CHECK(dlogits[c] == 0);
  tensor none(dtype::f32, {0, 5}), no_labels(dtype::i64, {0}), d(dtype::f32, {0, 5});
  CHECK(split_loss(none, no_labels, 2, 1, &d) == 0);
}
