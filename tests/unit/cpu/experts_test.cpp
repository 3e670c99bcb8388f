#include <algorithm>
#include <utility>

#include "plait/cpu/matmul_blas.hpp"
#include "support.hpp"

using namespace cpu_test;

namespace {

struct plan {
  tensor offsets, pair_of_slot, slot_of_pair;
  plan(tensor& ids, i64 first, i64 local)
      : offsets(dtype::i32, {local + 1}), pair_of_slot(dtype::i32, {ids.size()}), slot_of_pair(dtype::i32, {ids.size()}) {
    for (tensor* t : {&offsets, &pair_of_slot, &slot_of_pair}) t->fill(-77);
    cpu.dispatch_plan(plain, ids.v(), first, local, offsets.v(), pair_of_slot.v(), slot_of_pair.v());
  }
};

tensor random_ids(i64 T, i64 k, i64 E) {
  tensor ids(dtype::i32, {T, k});
  for (i64 i = 0; i < T * k; ++i) ids.set(i, static_cast<double>(generator()() % static_cast<unsigned>(E)));
  return ids;
}

}  // namespace

TEST_CASE("cpu dispatch_plan: a stable sort by expert, empty experts, a sub-range of them, wild ids") {
  tensor ids = of<int>(dtype::i32, {6, 2}, {5, 2, 2, 4, 7, 5, 2, 5, 4, -3, 2000000000, -2000000000});
  plan p(ids, 2, 4);  // experts 2..5; 3 is empty
  const int offsets[] = {0, 3, 3, 5, 8}, pairs[] = {1, 2, 6, 3, 8, 0, 5, 7, -1, -1, -1, -1};
  const int slots[] = {5, 0, 1, 3, -1, 6, 2, 7, 4, -1, -1, -1};
  for (i64 i = 0; i < 5; ++i) CHECK(p.offsets[i] == offsets[i]);
  for (i64 i = 0; i < 12; ++i) {
    CHECK(p.pair_of_slot[i] == pairs[i]);
    CHECK(p.slot_of_pair[i] == slots[i]);
  }
  tensor none(dtype::i32, {0, 2});
  plan empty(none, 0, 3);
  for (i64 i = 0; i < 4; ++i) CHECK(empty.offsets[i] == 0);
  plan no_experts(ids, 2, 0);
  CHECK(no_experts.offsets[0] == 0);
  CHECK(no_experts.pair_of_slot[0] == -1);
}

TEST_CASE("cpu exchange_plan: rows from several ranks, by expert and then by rank") {
  for (const i64 ranks : {1, 2, 5})
    for (const i64 local : {0, 1, 3}) {
      // What each rank sends, in its order: first rows for other ranks' experts, then ours.
      tensor received(dtype::i32, {ranks, local + 1});
      std::vector<std::pair<i64, i64>> arrived;  // (expert, rank), as rows arrive
      for (i64 m = 0; m < ranks; ++m) {
        i64 at = static_cast<i64>(generator()() % 9);
        for (i64 e = 0; e <= local; ++e) {
          received.set(m * (local + 1) + e, static_cast<double>(at));
          const i64 count = m == 1 ? 0 : static_cast<i64>(generator()() % 4);
          for (i64 i = 0; i < count && e < local; ++i, ++at) arrived.emplace_back(e, m);
        }
      }
      const i64 rows = static_cast<i64>(arrived.size());
      tensor offsets(dtype::i32, {local + 1}), row_of_slot(dtype::i32, {rows}), slot_of_row(dtype::i32, {rows});
      for (tensor* t : {&offsets, &row_of_slot, &slot_of_row}) t->fill(-77);
      cpu.exchange_plan(plain, received.v(), offsets.v(), row_of_slot.v(), slot_of_row.v());
      std::vector<std::pair<i64, i64>> sorted = arrived;
      std::stable_sort(sorted.begin(), sorted.end());
      CHECK(offsets[local] == static_cast<double>(rows));
      for (i64 e = 0; e < local; ++e)
        CHECK(offsets[e] == static_cast<double>(std::lower_bound(sorted.begin(), sorted.end(), std::pair<i64, i64>{e, 0}) - sorted.begin()));
      for (i64 s = 0; s < rows; ++s) {
        const i64 row = static_cast<i64>(row_of_slot[s]);
        CHECK(arrived[static_cast<std::size_t>(row)] == sorted[static_cast<std::size_t>(s)]);
        CHECK(slot_of_row[row] == static_cast<double>(s));
        if (s > 0 && sorted[static_cast<std::size_t>(s)] == sorted[static_cast<std::size_t>(s - 1)]) CHECK(row == row_of_slot[s - 1] + 1);
      }
    }
}

TEST_CASE("cpu gather and combine: forward") {
  const i64 T = 7, k = 3, E = 5, H = 6;
  for (dtype type : float_types) {
    tensor ids = random_ids(T, k, E), x = random(type, {T, H}), rows(type, {T * k, H}), scores = random(type, {T, k}),
           y(type, {T, H});
    plan p(ids, 1, 3);
    rows.fill(55);
    cpu.gather_rows(plain, x.v(), k, p.pair_of_slot.v(), p.offsets.v(), rows.v());
    const i64 last = static_cast<i64>(p.offsets[3]);
    for (i64 s = 0; s < T * k; ++s) {
      for (i64 c = 0; c < H; ++c) {
        CHECK(rows[s * H + c] == (s < last ? x[static_cast<i64>(p.pair_of_slot[s]) / k * H + c] : 55));
      }
    }
    for (i64 i = 0; i < last * H; ++i) rows.set(i, uniform(-1, 1));
    for (i64 i = last * H; i < T * k * H; ++i) rows.set(i, std::nan(""));  // never read
    cpu.combine(plain, rows.v(), scores.v(), p.slot_of_pair.v(), y.v());
    std::vector<double> want(static_cast<std::size_t>(T * H));
    for (i64 pair = 0; pair < T * k; ++pair) {
      const i64 s = static_cast<i64>(p.slot_of_pair[pair]);
      for (i64 c = 0; c < H && s >= 0; ++c) want[static_cast<std::size_t>(pair / k * H + c)] += scores[pair] * rows[s * H + c];
    }
    check_close(y, want, tolerance(type));
  }
}

TEST_CASE("cpu gather and combine: gradients") {
  const i64 T = 5, k = 2, E = 4, H = 3;
  tensor ids = random_ids(T, k, E), x = random(dtype::f64, {T, H}), scores = random(dtype::f64, {T, k});
  plan p(ids, 0, 3);
  const i64 last = static_cast<i64>(p.offsets[3]);
  tensor rows = zeros(dtype::f64, {T * k, H}), weights = random(dtype::f64, {T * k, H}), dx(dtype::f64, {T, H});
  for (i64 i = last * H; i < T * k * H; ++i) weights.set(i, 0);
  cpu.gather_rows_gradient(plain, weights.v(), k, p.slot_of_pair.v(), dx.v());
  check_gradient(x, dx, [&] {
    cpu.gather_rows(plain, x.v(), k, p.pair_of_slot.v(), p.offsets.v(), rows.v());
    return weighted_sum(rows, weights);
  });
  tensor dy = random(dtype::f64, {T, H}), y(dtype::f64, {T, H}), drows = zeros(dtype::f64, {T * k, H}),
         dscores(dtype::f64, {T, k});
  const auto loss = [&] {
    cpu.combine(plain, rows.v(), scores.v(), p.slot_of_pair.v(), y.v());
    return weighted_sum(y, dy);
  };
  cpu.combine_gradient(plain, dy.v(), rows.v(), scores.v(), p.slot_of_pair.v(), drows.v(), dscores.v());
  check_gradient(rows, drows, loss);
  check_gradient(scores, dscores, loss);
  for (dtype type : {dtype::f32, dtype::bf16}) {
    tensor r = converted(rows, type), s = converted(scores, type), g = converted(dy, type), dr = zeros(type, {T * k, H}),
           ds(type, {T, k});
    cpu.combine_gradient(plain, g.v(), r.v(), s.v(), p.slot_of_pair.v(), dr.v(), ds.v());
    check_close(dr, drows, tolerance(type) * 3);
    check_close(ds, dscores, tolerance(type) * 3);
  }
}

TEST_CASE("cpu grouped products against single ones, with empty experts and spare rows") {
  const i64 local = 5, in = 20, out = 13, P = 40;
  tensor offsets = of<int>(dtype::i32, {local + 1}, {0, 7, 7, 8, 33, 33});
  for (dtype type : float_types) {
    const dtype wide = type == dtype::bf16 ? dtype::f32 : type;
    tensor x = random(type, {P, in}), w = random(type, {local, out, in}), y(type, {P, out}), dy = random(type, {P, out});
    tensor dx(type, {P, in}), dw = random(wide, {local, out, in}), dw_before = dw;
    std::vector<double> want_y, want_dx, want_dw;
    for (i64 i = 0; i < P * out; ++i) want_y.push_back(44);
    for (i64 i = 0; i < P * in; ++i) want_dx.push_back(44);
    for (i64 i = 0; i < dw.size(); ++i) want_dw.push_back(dw[i]);
    y.fill(44);
    dx.fill(44);
    for (i64 e = 0; e < local; ++e) {
      for (i64 r = static_cast<i64>(offsets[e]); r < static_cast<i64>(offsets[e + 1]); ++r) {
        for (i64 o = 0; o < out; ++o) {
          double total = 0;
          for (i64 i = 0; i < in; ++i) {
            total += x[r * in + i] * w[(e * out + o) * in + i];
            want_dw[static_cast<std::size_t>((e * out + o) * in + i)] += dy[r * out + o] * x[r * in + i];
          }
          want_y[static_cast<std::size_t>(r * out + o)] = total;
        }
        for (i64 i = 0; i < in; ++i) {
          double total = 0;
          for (i64 o = 0; o < out; ++o) total += dy[r * out + o] * w[(e * out + o) * in + i];
          want_dx[static_cast<std::size_t>(r * in + i)] = total;
        }
      }
    }
    for (int threads : {1, 3}) {
      execution ex;
      ex.threads = threads;
      dw = dw_before;
      cpu.grouped_matmul(ex, x.v(), w.v(), false, offsets.v(), y.v());
      cpu.grouped_input_gradient(ex, dy.v(), w.v(), false, offsets.v(), dx.v());
      cpu.grouped_weight_gradient(ex, x.v(), dy.v(), false, offsets.v(), dw.v(), true);
      check_close(y, want_y, tolerance(type) * 2);
      check_close(dx, want_dx, tolerance(type) * 2);
      check_close(dw, want_dw, tolerance(wide) * 2);
      std::vector<double> alone = want_dw;
      for (std::size_t i = 0; i < alone.size(); ++i) alone[i] -= dw_before[static_cast<i64>(i)];
      cpu.grouped_weight_gradient(ex, x.v(), dy.v(), false, offsets.v(), dw.v(), false);  // written over; zeros for an expert without rows
      check_close(dw, alone, tolerance(wide) * 2);
    }
    tensor turned(type, {local, in, out}), dturned(wide, {local, in, out}), dw_turned(wide, {local, out, in});
    for (i64 e = 0; e < local; ++e)
      for (i64 o = 0; o < out; ++o)
        for (i64 i = 0; i < in; ++i) {
          turned.set((e * in + i) * out + o, w[(e * out + o) * in + i]);
          dturned.set((e * in + i) * out + o, dw_before[(e * out + o) * in + i]);
        }
    cpu.grouped_matmul(plain, x.v(), turned.v(), true, offsets.v(), y.v());
    cpu.grouped_input_gradient(plain, dy.v(), turned.v(), true, offsets.v(), dx.v());
    cpu.grouped_weight_gradient(plain, x.v(), dy.v(), true, offsets.v(), dturned.v(), true);
    for (i64 e = 0; e < local; ++e)
      for (i64 o = 0; o < out; ++o)
        for (i64 i = 0; i < in; ++i) dw_turned.set((e * out + o) * in + i, dturned[(e * in + i) * out + o]);
    check_close(y, want_y, tolerance(type) * 2);
    check_close(dx, want_dx, tolerance(type) * 2);
    check_close(dw_turned, want_dw, tolerance(wide) * 2);
  }
}

TEST_CASE("cpu expert bias: each row its expert's, spare rows untouched") {
  const i64 local = 4, n = 7, P = 12;
  tensor offsets = of<int>(dtype::i32, {local + 1}, {0, 3, 3, 8, 10});
  for (dtype type : float_types) {
    const dtype wide = type == dtype::bf16 ? dtype::f32 : type;
    tensor x = random(type, {P, n}), bias = random(type, {local, n}), y(type, {P, n}), db = random(wide, {local, n});
    y.fill(9);
    std::vector<double> want(static_cast<std::size_t>(P * n), 9.0), want_db;
    for (i64 i = 0; i < local * n; ++i) want_db.push_back(db[i]);
    for (i64 e = 0; e < local; ++e)
      for (i64 r = static_cast<i64>(offsets[e]); r < static_cast<i64>(offsets[e + 1]); ++r)
        for (i64 c = 0; c < n; ++c) {
          want[static_cast<std::size_t>(r * n + c)] = x[r * n + c] + bias[e * n + c];
          want_db[static_cast<std::size_t>(e * n + c)] += x[r * n + c];
        }
    cpu.expert_bias(plain, x.v(), bias.v(), offsets.v(), y.v());
    check_close(y, want, tolerance(type));
    cpu.expert_bias_gradient(plain, x.v(), offsets.v(), db.v());
    check_close(db, want_db, tolerance(wide));
  }
}

TEST_CASE("cpu grouped products: threads give the same bits, wild offsets stay inside") {
  const bool blas = std::exchange(blas_products(), false);
  const i64 local = 4, n = 96, P = 300;
  tensor offsets = of<int>(dtype::i32, {local + 1}, {0, 90, 100, 290, 300});
  tensor x = random(dtype::f32, {P, n}), w = random(dtype::f32, {local, n, n}), a(dtype::f32, {P, n}), b(dtype::f32, {P, n});
  for (int threads : {2, 3, 4, 9}) {
    execution ex;
    ex.threads = threads;
    cpu.grouped_matmul(plain, x.v(), w.v(), false, offsets.v(), a.v());
    cpu.grouped_matmul(ex, x.v(), w.v(), false, offsets.v(), b.v());
    CHECK(same_bytes(a, b));
    tensor dw1 = zeros(dtype::f32, {local, n, n}), dw2 = dw1;
    cpu.grouped_weight_gradient(plain, x.v(), a.v(), false, offsets.v(), dw1.v(), true);
    cpu.grouped_weight_gradient(ex, x.v(), a.v(), false, offsets.v(), dw2.v(), true);
    CHECK(same_bytes(dw1, dw2));
  }
  tensor wild = of<int>(dtype::i32, {local + 1}, {-50, 20, 2000000000, 10, -7}), dw = zeros(dtype::f32, {local, n, n});
  cpu.grouped_matmul(plain, x.v(), w.v(), false, wild.v(), a.v());
  cpu.grouped_input_gradient(plain, x.v(), w.v(), false, wild.v(), a.v());
  cpu.grouped_weight_gradient(plain, x.v(), a.v(), false, wild.v(), dw.v(), true);
  blas_products() = blas;
}

TEST_CASE("cpu experts: no rows, no experts") {
  tensor zero = of<int>(dtype::i32, {3}, {0, 0, 0}), w = random(dtype::f32, {2, 3, 4}), dw = w, scores(dtype::f32, {0, 2});
  const view x{nullptr, dtype::f32, 2, {0, 4}}, y{nullptr, dtype::f32, 2, {0, 3}}, map{nullptr, dtype::i32, 1, {0}};
  cpu.grouped_matmul(plain, x, w.v(), false, zero.v(), y);
  cpu.grouped_input_gradient(plain, y, w.v(), false, zero.v(), x);
  cpu.grouped_weight_gradient(plain, x, y, false, zero.v(), dw.v(), true);
  CHECK(same_bytes(w, dw));
  cpu.gather_rows(plain, x, 2, map, zero.v(), x);
  cpu.gather_rows_gradient(plain, x, 2, map, x);
  cpu.combine(plain, x, scores.v(), map, x);
  cpu.combine_gradient(plain, x, x, scores.v(), map, x, scores.v());
  tensor only = of<int>(dtype::i32, {1}, {0});
  cpu.grouped_matmul(plain, x, view{nullptr, dtype::f32, 3, {0, 3, 4}}, false, only.v(), y);
}
