#include <array>
#include <utility>

#include "support.hpp"

using namespace cpu_test;

namespace {

struct problem {
  i64 B, Sq, Skv, Hq, Hkv, d, dv;
  tensor q, k, v, segments;
  double scale;

  problem(dtype type, i64 b, i64 sq, i64 skv, i64 hq, i64 hkv, i64 width, i64 value_width = 0)
      : B(b),
        Sq(sq),
        Skv(skv),
        Hq(hq),
        Hkv(hkv),
        d(width),
        dv(value_width > 0 ? value_width : width),
        q(random(type, {b, sq, hq, width}, -2, 2)),
        k(random(type, {b, skv, hkv, width}, -2, 2)),
        v(random(type, {b, skv, hkv, dv}, -2, 2)),
        segments(dtype::i32, {b, skv}),
        scale(1 / std::sqrt(static_cast<double>(width))) {
    for (i64 i = 0; i < b; ++i) {
      std::int32_t start = 0;
      for (i64 j = 0; j < skv; ++j) {
        if (j > 0 && generator()() % 5 == 0) start = static_cast<std::int32_t>(j);
        segments.as<std::int32_t>()[i * skv + j] = start;
      }
    }
  }
  tensor out() const { return tensor(q.type, {B, Sq, Hq, dv}); }
  tensor lse() const { return tensor(statistic_of(q.type), {B, Hq, Sq}); }

  void run(tensor& o, tensor& l, int threads = 1) {
    execution ex;
    ex.threads = threads;
    cpu.attention(ex, q.v(), k.v(), v.v(), segments.v(), Skv, scale, o.v(), l.v());
  }
  void reference(std::vector<double>& o, std::vector<double>& l) const {
    o.assign(static_cast<std::size_t>(B * Sq * Hq * dv), 0);
    l.assign(static_cast<std::size_t>(B * Hq * Sq), -INFINITY);
    for (i64 b = 0; b < B; ++b) {
      for (i64 h = 0; h < Hq; ++h) {
        const i64 hk = h / (Hq / Hkv);
        for (i64 i = 0; i < Sq; ++i) {
          const i64 position = i + Skv - Sq;
          if (position < 0) continue;
          std::vector<double> p;
          double total = 0;
          const i64 start = static_cast<i64>(segments[b * Skv + position]);
          for (i64 j = start; j <= position; ++j) {
            double s = 0;
            for (i64 c = 0; c < d; ++c) s += q[((b * Sq + i) * Hq + h) * d + c] * k[((b * Skv + j) * Hkv + hk) * d + c];
            p.push_back(std::exp(s * scale));
            total += p.back();
          }
          if (p.empty()) continue;
          l[static_cast<std::size_t>((b * Hq + h) * Sq + i)] = std::log(total);
          for (i64 c = 0; c < dv; ++c) {
            double sum = 0;
            for (i64 j = start; j <= position; ++j) {
              sum += p[static_cast<std::size_t>(j - start)] / total * v[((b * Skv + j) * Hkv + hk) * dv + c];
            }
            o[static_cast<std::size_t>(((b * Sq + i) * Hq + h) * dv + c)] = sum;
          }
        }
      }
    }
  }
};

}  // namespace

TEST_CASE("cpu attention: segments, grouped heads, fewer queries than keys, against a double reference") {
  for (dtype type : float_types) {
    for (auto [sq, skv] : {std::pair<i64, i64>{6, 6}, {3, 9}, {1, 20}, {70, 150}, {130, 130}}) {
      for (const i64 wide : {8, 5, 11}) {
        problem p(type, 2, sq, skv, 4, 2, 8, wide);
        tensor out = p.out(), lse = p.lse();
        p.run(out, lse);
        std::vector<double> o, l;
        p.reference(o, l);
        check_close(out, o, tolerance(type) * 2);
        check_close(lse, l, type == dtype::f64 ? 1e-13 : 1e-5);
        tensor without = p.out();
        cpu.attention(plain, p.q.v(), p.k.v(), p.v.v(), p.segments.v(), p.Skv, p.scale, without.v(), view{});
        CHECK(same_bytes(out, without));
        // A cache with room for more: what is not there yet is not read.
        const auto roomy = [&](const tensor& x, i64 row) {
          tensor y(x.type, {p.B, p.Skv + 3, row});
          for (i64 b = 0; b < p.B; ++b)
            for (i64 e = 0; e < (p.Skv + 3) * row; ++e)
              y.set(b * (p.Skv + 3) * row + e, e < p.Skv * row ? x[b * p.Skv * row + e] : x.type == dtype::i32 ? 0 : NAN);
          return y;
        };
        tensor k = roomy(p.k, p.Hkv * p.d), v = roomy(p.v, p.Hkv * p.dv), segments = roomy(p.segments, 1);
        const auto with_heads = [&](tensor& x, i64 width) {
          view all = x.v();
          all.rank = 4;
          all.extent[2] = p.Hkv;
          all.extent[3] = width;
          return all;
        };
        tensor of_cache = p.out();
        cpu.attention(plain, p.q.v(), with_heads(k, p.d), with_heads(v, p.dv), segments.v(), p.Skv, p.scale, of_cache.v(), view{});
        CHECK(same_bytes(out, of_cache));
      }
    }
  }
}

TEST_CASE("cpu attention: gradients against finite differences") {
  for (auto [sq, skv, hq, hkv] : {std::array<i64, 4>{5, 5, 2, 2}, {3, 7, 4, 2}, {4, 4, 3, 1}}) {
    for (const i64 wide : {4, 3, 6}) {
      problem p(dtype::f64, 2, sq, skv, hq, hkv, 4, wide);
      tensor out = p.out(), lse = p.lse(), dout = random(dtype::f64, out.extent);
      const auto loss = [&] {
        p.run(out, lse);
        return weighted_sum(out, dout);
      };
      loss();
      tensor dq(dtype::f64, p.q.extent), dk(dtype::f64, p.k.extent), dv(dtype::f64, p.v.extent);
      for (tensor* t : {&dq, &dk, &dv}) t->fill(77);
      cpu.attention_gradient(plain, p.q.v(), p.k.v(), p.v.v(), p.segments.v(), p.scale, out.v(), lse.v(), dout.v(), dq.v(), dk.v(),
                             dv.v());
      tensor only(dtype::f64, p.q.extent);
      cpu.attention_gradient(plain, p.q.v(), p.k.v(), p.v.v(), p.segments.v(), p.scale, out.v(), lse.v(), dout.v(), only.v(),
                             view{}, view{});
      CHECK(same_bytes(only, dq));
      check_gradient(p.q, dq, loss);
      check_gradient(p.k, dk, loss);
      check_gradient(p.v, dv, loss);
    }
  }
}

TEST_CASE("cpu attention: several query blocks, f32 and bf16 gradients near f64, threads give the same bits") {
  problem p(dtype::f64, 1, 140, 200, 4, 2, 16);
  tensor out = p.out(), lse = p.lse(), dout = random(dtype::f64, p.q.extent);
  p.run(out, lse);
  tensor dq(dtype::f64, p.q.extent), dk(dtype::f64, p.k.extent), dv(dtype::f64, p.v.extent);
  cpu.attention_gradient(plain, p.q.v(), p.k.v(), p.v.v(), p.segments.v(), p.scale, out.v(), lse.v(), dout.v(), dq.v(), dk.v(),
                         dv.v());
  for (dtype type : {dtype::f32, dtype::bf16}) {
    problem n = p;
    n.q = converted(p.q, type), n.k = converted(p.k, type), n.v = converted(p.v, type);
    tensor o = n.out(), l = n.lse(), o3 = n.out(), l3 = n.lse(), g = converted(dout, type);
    n.run(o, l);
    n.run(o3, l3, 3);
    CHECK(same_bytes(o, o3));
    CHECK(same_bytes(l, l3));
    tensor a(type, p.q.extent), b(type, p.k.extent), c(type, p.v.extent), a3 = a, b3 = b, c3 = c;
    cpu.attention_gradient(plain, n.q.v(), n.k.v(), n.v.v(), n.segments.v(), n.scale, o.v(), l.v(), g.v(), a.v(), b.v(), c.v());
    execution ex;
    ex.threads = 3;
    cpu.attention_gradient(ex, n.q.v(), n.k.v(), n.v.v(), n.segments.v(), n.scale, o.v(), l.v(), g.v(), a3.v(), b3.v(), c3.v());
    CHECK(same_bytes(a, a3));
    CHECK(same_bytes(b, b3));
    CHECK(same_bytes(c, c3));
    const double allowed = type == dtype::f32 ? 1e-5 : 0.1;
    check_close(a, dq, allowed);
    check_close(b, dk, allowed);
    check_close(c, dv, allowed);
  }
}

TEST_CASE("cpu attention: queries that see nothing, wild segment starts, empty sizes") {
  problem p(dtype::f32, 1, 5, 3, 2, 1, 4);  // the first two queries stand before the first key
  tensor out = p.out(), lse = p.lse();
  out.fill(9);
  p.run(out, lse);
  std::vector<double> o, l;
  p.reference(o, l);
  check_close(out, o, 1e-6);
  check_close(lse, l, 1e-6);
  tensor dq(dtype::f32, p.q.extent), dk(dtype::f32, p.k.extent), dv(dtype::f32, p.v.extent);
  cpu.attention_gradient(plain, p.q.v(), p.k.v(), p.v.v(), p.segments.v(), p.scale, out.v(), lse.v(), out.v(), dq.v(), dk.v(),
                         dv.v());
  for (i64 i = 0; i < 16; ++i) CHECK(dq[i] == 0);
  for (tensor* t : {&dq, &dk, &dv}) {
    for (i64 i = 0; i < t->size(); ++i) CHECK(std::isfinite((*t)[i]));
  }
  for (int wild : {-2000000000, 2000000000}) {
    p.segments.fill(wild);
    p.run(out, lse);
    for (i64 i = 0; i < out.size() && wild > 0; ++i) CHECK(out[i] == 0);
    cpu.attention_gradient(plain, p.q.v(), p.k.v(), p.v.v(), p.segments.v(), p.scale, out.v(), lse.v(), out.v(), dq.v(), dk.v(),
                           dv.v());
  }
  for (auto [b, sq, skv] : {std::array<i64, 3>{0, 3, 3}, {1, 0, 3}, {1, 3, 0}, {2, 0, 0}}) {
    problem e(dtype::f32, b, sq, skv, 2, 1, 4);
    tensor eo = e.out(), el = e.lse(), ek(dtype::f32, e.k.extent), ev(dtype::f32, e.v.extent);
    eo.fill(3);
    ek.fill(3);
    e.run(eo, el);
    for (i64 i = 0; i < eo.size(); ++i) CHECK(eo[i] == 0);
    cpu.attention_gradient(plain, e.q.v(), e.k.v(), e.v.v(), e.segments.v(), 1, eo.v(), el.v(), eo.v(), eo.v(), ek.v(), ev.v());
    for (i64 i = 0; i < ek.size(); ++i) CHECK(ek[i] == 0);
  }
}

TEST_CASE("cpu rope: halves and pairs, of all columns or some, inverse and in place") {
  constexpr i64 width = 9, half = 3;
  for (dtype type : float_types)
    for (const bool interleaved : {false, true})
      for (const i64 first : {0, 2, 3}) {
        tensor x = random(type, {2, 3, 2, width}), cosine(statistic_of(type), {2, 3, half}), sine(statistic_of(type), {2, 3, half}),
               y(type, x.extent);
        for (i64 i = 0; i < cosine.size(); ++i) {
          const double angle = uniform(-3, 3);
          cosine.set(i, std::cos(angle));
          sine.set(i, std::sin(angle));
        }
        std::vector<double> want;
        for (i64 i = 0; i < x.size(); ++i) want.push_back(x[i]);
        for (i64 row = 0; row < 12; ++row)
          for (i64 i = 0; i < half; ++i) {
            const i64 a = row * width + first + (interleaved ? 2 * i : i), b = interleaved ? a + 1 : a + half, t = row / 2 * half + i;
            want[static_cast<std::size_t>(a)] = x[a] * cosine[t] - x[b] * sine[t];
            want[static_cast<std::size_t>(b)] = x[b] * cosine[t] + x[a] * sine[t];
          }
        const rotary_form form{first, interleaved};
        cpu.rope(plain, x.v(), cosine.v(), sine.v(), form, false, y.v());
        check_close(y, want, tolerance(type));
        tensor back(type, x.extent), here = x;
        cpu.rope(plain, y.v(), cosine.v(), sine.v(), form, true, back.v());
        check_close(back, x, tolerance(type) * 2);
        cpu.rope(plain, here.v(), cosine.v(), sine.v(), form, false, here.v());
        CHECK(same_bytes(here, y));
      }
}

TEST_CASE("cpu columns: taken apart and put together") {
  for (dtype type : float_types)
    for (const i64 rows : {0, 1, 5}) {
      tensor x = random(type, {rows, 7});
      tensor a(type, {rows, 3}), b(type, {rows, 4}), only(type, {rows, 4}), y(type, x.extent);
      cpu.split_columns(plain, x.v(), a.v(), b.v());
      for (i64 r = 0; r < rows; ++r)
        for (i64 i = 0; i < 7; ++i) CHECK((i < 3 ? a[r * 3 + i] : b[r * 4 + i - 3]) == x[r * 7 + i]);
      cpu.split_columns(plain, x.v(), view{}, only.v());
      CHECK(same_bytes(only, b));
      cpu.join_columns(plain, a.v(), b.v(), y.v());
      CHECK(same_bytes(x, y));
    }
}

TEST_CASE("cpu repeat_heads: from any first copy on, and its gradient") {
  for (dtype type : float_types)
    for (auto [have, times, first, take] : {std::array<i64, 4>{1, 4, 0, 4}, {1, 8, 3, 2}, {2, 3, 0, 6}, {2, 3, 1, 4}, {3, 1, 0, 3}, {3, 2, 4, 2}, {2, 3, 0, 0}}) {
      tensor x = random(type, {5, have, 3}), y(type, {5, take, 3}), dy = random(type, {5, take, 3}), dx(type, {5, have, 3});
      cpu.repeat_heads(plain, x.v(), first, times, y.v());
      std::vector<double> want(static_cast<std::size_t>(dx.size()));
      for (i64 r = 0; r < 5; ++r)
        for (i64 j = 0; j < take; ++j)
          for (i64 i = 0; i < 3; ++i) {
            const i64 from = (r * have + (first + j) / times) * 3 + i, to = (r * take + j) * 3 + i;
            CHECK(y[to] == x[from]);
            want[static_cast<std::size_t>(from)] += dy[to];
          }
      dx.fill(77);
      cpu.repeat_heads_gradient(plain, dy.v(), first, times, dx.v());
      check_close(dx, want, tolerance(type) * 2);
    }
}

TEST_CASE("cpu attention sinks: a logit more in the softmax, its gradient and the others' against finite differences") {
  problem p(dtype::f64, 2, 5, 7, 4, 2, 4);
  tensor sinks = random(dtype::f64, {4}, -2, 2), out = p.out(), lse = p.lse(), dout = random(dtype::f64, out.extent);
  const auto loss = [&] {
    p.run(out, lse);
    cpu.attention_sinks(plain, sinks.v(), out.v(), lse.v());
    return weighted_sum(out, dout);
  };
  loss();
  tensor plain_out = p.out(), plain_lse = p.lse();
  p.run(plain_out, plain_lse);
  for (i64 b = 0; b < 2; ++b)
    for (i64 h = 0; h < 4; ++h)
      for (i64 i = 0; i < 5; ++i) {
        const i64 row = (b * 4 + h) * 5 + i, at = ((b * 5 + i) * 4 + h) * 4;
        const double whole = std::exp(plain_lse[row]) + std::exp(sinks[h]);
        CHECK(lse[row] == doctest::Approx(std::log(whole)).epsilon(1e-12));
        CHECK(out[at] == doctest::Approx(plain_out[at] * std::exp(plain_lse[row]) / whole).epsilon(1e-12));
      }
  tensor dq(dtype::f64, p.q.extent), dk(dtype::f64, p.k.extent), dv(dtype::f64, p.v.extent), dsinks = zeros(dtype::f64, {4});
  cpu.attention_gradient(plain, p.q.v(), p.k.v(), p.v.v(), p.segments.v(), p.scale, out.v(), lse.v(), dout.v(), dq.v(), dk.v(), dv.v());
  cpu.attention_sinks_gradient(plain, sinks.v(), out.v(), lse.v(), dout.v(), dsinks.v());
  check_gradient(p.q, dq, loss);
  check_gradient(p.k, dk, loss);
  check_gradient(p.v, dv, loss);
  check_gradient(sinks, dsinks, loss);
  tensor none = of<double>(dtype::f32, {1, 1, 1}, {-INFINITY}), y = random(dtype::f32, {1, 1, 1, 3}), s = of<double>(dtype::f32, {1}, {0.5});
  cpu.attention_sinks(plain, s.v(), y.v(), none.v());  // a query that sees no key
  CHECK(none[0] == 0.5);
  CHECK(y[0] == 0);
}
