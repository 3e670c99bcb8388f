// Every typed op under tensor, sequence, expert and data parallelism against the same types on one rank: random shapes, mesh sizes and
// routings from pinned seeds. Integer data are compared bit for bit (all sums are exact), other data in float64 to 1e-12.
#include "support.hpp"

#include <map>
#include <numeric>
#include <mutex>

#include "plait/ops/attention.hpp"
#include "plait/ops/exchange.hpp"
#include "plait/ops/heads.hpp"
#include "plait/ops/loss.hpp"
#include "plait/style/dense.hpp"
#include "plait/tensor/uniform_layout.hpp"

using namespace numeric;

namespace {

// Two data axes and one of tensor parallelism, sizes at run time; experts over the inner ones.
struct outer : axis<dyn> {};
struct inner : axis<dyn> {};
struct tp : axis<dyn> {};
struct node : mesh<outer, inner, tp> {};
struct data : axis_view<outer, inner> {};
struct ep : axis_view<inner, tp> {};

template <class... Entries>
using L = layout<node, Entries...>;
using rows = L<on<data, Shard<0>>>;                            // Replicate on tp
using rows_invariant = L<on<data, Shard<0>>, on<tp, Invariant>>;
template <int D>
using rows_and = L<on<data, Shard<0>>, on<tp, Shard<D>>>;
using weights = L<>;                                            // Replicate: pending-sum gradients
using invariant = uniform_layout_t<node, Invariant>;
using partial = uniform_layout_t<node, Partial>;

using e1 = extents<dyn>;
using e2 = extents<dyn, dyn>;
using e3 = extents<dyn, dyn, dyn>;

/// What the ranks of one run hold, by name.
class recorder {
 public:
  explicit recorder(const mesh_shape& mesh) : mesh_(mesh) {}
  void note(context& c, const std::string& name, std::vector<double> held, const layout_value& layout, const array& like) {
    std::lock_guard lock(mutex_);
    entry& e = entries_[name];
    e.layout = layout;
    e.extent.assign(like.global, like.global + like.rank());
    e.held.resize(static_cast<std::size_t>(mesh_.ranks()));
    e.held[static_cast<std::size_t>(c.rank)] = std::move(held);
  }
  struct entry {
    layout_value layout{};
    std::vector<i64> extent;
    std::vector<std::vector<double>> held;
  };
  const std::map<std::string, entry>& entries() const { return entries_; }
  const mesh_shape& mesh() const { return mesh_; }

 private:
  mesh_shape mesh_;
  std::mutex mutex_;
  std::map<std::string, entry> entries_;
};

/// One run of a program on one rank: makes typed tensors, takes results, seeds and collects gradients.
class session {
 public:
  session(context& c, recorder& r, std::uint32_t seed, bool integral) : c(c), r_(r), seed_(seed), integral_(integral) { c.recording = &tape_; }
  ~session() { c.recording = nullptr; }

  whole fresh(std::vector<i64> extent) {
    ++seed_;
    return integral_ ? integers(std::move(extent), seed_, -2, 2) : reals(std::move(extent), seed_);
  }
  template <class T, class Extents, class Layout>
  tensor<T, Extents, Layout> input(const std::string& name, std::vector<i64> extent) {
    const whole w = fresh(std::move(extent));
    tensor<T, Extents, Layout> x(make(c, w, Layout::value, dtype_of<T>(), seed_ + 1000, true));
    inputs_.push_back({name, x.data()});
    return x;
  }
  template <class T, class Extents, class Layout>
  tensor<T, Extents, Layout> fixed(const whole& w) {
    return tensor<T, Extents, Layout>(make(c, w, Layout::value, dtype_of<T>(), 0, false));
  }
  /// Records y and gives it a cotangent.
  template <class Y>
  void output(const std::string& name, const Y& y) {
    r_.note(c, name, read(y.data().local), y.data().layout, y.data());
    std::vector<i64> extent(y.data().global, y.data().global + Y::rank);
    seed_gradient(c, y.data(), fresh(std::move(extent)), seed_ + 2000);
  }
  void track(const std::string& name, const array& a) { inputs_.push_back({name, a}); }
  void backward() {
    run_backward(c, tape_);
    for (const auto& [name, a] : inputs_) r_.note(c, "gradient of " + name, gradient_of(a), grad_of(a.layout), a);
  }
  context& c;

 private:
  recorder& r_;
  tape tape_;
  std::uint32_t seed_;
  bool integral_;
  std::vector<std::pair<std::string, array>> inputs_;
};

struct totals {
  int cases = 0, good = 0;
  std::map<std::string, int> by_name;
  std::map<std::string, bool> ever_nonzero;  // by program and result: a gradient that never comes would be equal everywhere
};
totals& counted() {
  static totals t;
  return t;
}

/// Runs `program(session&)` on one rank and on `mesh`, and compares all that it recorded.
template <class Program>
void compare(const char* name, std::uint32_t seed, const mesh_shape& mesh, bool integral, Program program) {
  const poisoned nan;
  const double close = integral ? 0.0 : 1e-12;
  const auto run = [&](const mesh_shape& m) {
    auto r = std::make_unique<recorder>(m);
    run_ranks(m, test_backend(), [&](context& c) {
      session s(c, *r, seed, integral);
      program(s);
      s.backward();
    });
    return r;
  };
  const auto serial = run(mesh_of({1, 1, 1})), parallel = run(mesh);
  std::string problem;
  if (serial->entries().size() != parallel->entries().size() || serial->entries().empty()) problem = "unlike results";
  for (const auto& [what, e] : parallel->entries()) {
    const recorder::entry& alone = serial->entries().at(what);
    bool& nonzero = counted().ever_nonzero[std::string(name) + ", " + what];
    for (const double v : alone.held[0]) nonzero = nonzero || v != 0;
    const denoted one = denote(alone.held, alone.layout, alone.extent, serial->mesh(), close), many = denote(e.held, e.layout, e.extent, mesh, close);
    if (!one.problem.empty() || !many.problem.empty()) problem = what + ": " + one.problem + many.problem;
    else if (const i64 at = first_difference(one.w, many.w, close); at >= 0)
      problem = what + " differs at " + std::to_string(at) + ": " + std::to_string(one.w.value[static_cast<std::size_t>(at)]) + " on one rank, " +
                std::to_string(many.w.value[static_cast<std::size_t>(at)]) + " here";
  }
  ++counted().cases;
  ++counted().by_name[name];
  counted().good += problem.empty();
  INFO(std::string(name), ", seed ", seed, ", mesh ", mesh.size[0], " x ", mesh.size[1], " x ", mesh.size[2]);
  CHECK(problem == "");
}

class dice {
 public:
  explicit dice(std::uint32_t seed) : random_(seed) {}
  int operator()(int low, int high) { return low + static_cast<int>(random_() % static_cast<std::uint32_t>(high - low + 1)); }

 private:
  std::mt19937 random_;
};
/// A mesh of at most eight ranks, more than one in most cases.
mesh_shape any_mesh(dice& d, int most_outer = 3, int most_inner = 3, int most_tp = 4) {
  while (true) {
    const mesh_shape m = mesh_of({d(1, most_outer), d(1, most_inner), d(1, most_tp)});
    if (m.ranks() <= 8 && (m.ranks() > 1 || d(0, 9) == 0)) return m;
  }
}

constexpr int rounds = 84;

template <class Round>
void rolls(std::uint32_t seed, Round round) {
  for (int i = 0; i < rounds; ++i) {
    const std::uint32_t own = seed + static_cast<std::uint32_t>(i);
    dice d(own);
    round(d, own);
  }
}

}  // namespace

TEST_CASE("linear, columnwise, with bias: bitwise") {
  rolls(10000, [](dice& d, std::uint32_t seed) {
    const i64 B = d(0, 5), S_ = d(1, 4), H = d(1, 7), O = d(1, 9);
    compare("colwise", seed, any_mesh(d), true, [=](session& s) {
      const auto x = s.input<float, e3, rows>("x", {B, S_, H});
      const auto w = s.input<float, e2, L<on<tp, Shard<0>>>>("w", {O, H});
      const auto b = s.input<float, e1, L<on<tp, Shard<0>>>>("b", {O});
      const auto y = bias_add(s.c, linear(s.c, x, w), b);
      static_assert(std::is_same_v<decltype(y)::layout_type, rows_and<2>>);
      s.output("y", y);
    });
  });
}

TEST_CASE("linear, rowwise: all-reduced or scattered, the bias once: bitwise") {
  rolls(11000, [](dice& d, std::uint32_t seed) {
    const i64 B = d(0, 5), S_ = d(1, 6), H = d(1, 9), O = d(1, 7);
    const mesh_shape m = any_mesh(d);
    if (d(0, 1) == 0)
      compare("rowwise", seed, m, true, [=](session& s) {
        const auto x = s.input<float, e3, rows_and<2>>("x", {B, S_, H});
        const auto w = s.input<float, e2, L<on<tp, Shard<1>>>>("w", {O, H});
        const auto b = s.input<float, e1, L<on<tp, Invariant>>>("b", {O});
        s.output("y", bias_add(s.c, redistribute<rows_invariant>(s.c, linear(s.c, x, w)), b));
      });
    else
      compare("rowwise, scattered", seed, m, true, [=](session& s) {
        const auto stream = s.input<float, e3, rows_and<1>>("x", {B, S_, H});
        const auto x = redistribute<rows_and<2>>(s.c, stream);  // sequence to columns: all-to-all
        const auto w = s.input<float, e2, L<on<tp, Shard<1>>>>("w", {O, H});
        const auto b = s.input<float, e1, weights>("b", {O});
        s.output("y", bias_add(s.c, redistribute<rows_and<1>>(s.c, linear(s.c, x, w)), b));
      });
  });
}

TEST_CASE("linear, packed columns, then back by packed rows: bitwise") {
  rolls(12000, [](dice& d, std::uint32_t seed) {
    const i64 B = d(0, 4), H = d(1, 6), F = d(1, 7), O = d(1, 5);
    compare("packed", seed, any_mesh(d), true, [=](session& s) {
      const auto x = s.input<float, e2, rows>("x", {B, H});
      const auto w = s.input<float, e2, L<on<tp, StridedShard<0, 2>>>>("w", {2 * F, H});
      const auto b = s.input<float, e1, L<on<tp, StridedShard<0, 2>>>>("b", {2 * F});
      const auto v = s.input<float, e2, L<on<tp, StridedShard<1, 2>>>>("v", {O, 2 * F});
      const auto y = bias_add(s.c, linear(s.c, x, w), b);
      s.output("y", y);
      s.output("z", redistribute<rows_invariant>(s.c, linear(s.c, y, v)));
    });
  });
}

TEST_CASE("a value entered once: q, k and v share it, a pending sum passes linear ops and sums: bitwise") {
  rolls(13000, [](dice& d, std::uint32_t seed) {
    const i64 B = d(0, 4), S_ = d(1, 4), H = d(1, 6), O = d(1, 6);
    compare("enter, add", seed, any_mesh(d), true, [=](session& s) {
      auto stream = s.input<float, e3, rows_and<1>>("stream", {B, S_, H});
      const auto x = enter<rows>(s.c, redistribute<rows_and<1>>(s.c, stream));
      const auto q = linear(s.c, x, s.input<float, e2, L<on<tp, Shard<0>>>>("wq", {O, H}));
      const auto k = linear(s.c, x, s.input<float, e2, L<on<tp, Shard<0>>>>("wk", {O, H}));
      const auto o = linear(s.c, add(s.c, q, scale(s.c, k, 2.0)), s.input<float, e2, L<on<tp, Shard<1>>>>("wo", {H, O}));
      const auto p = linear(s.c, q, s.input<float, e2, L<on<tp, Shard<1>>>>("wp", {H, O}));
      const auto sum = add(s.c, o, p);  // pending + pending
      const auto through = linear(s.c, sum, s.input<float, e2, weights>("r", {H, H}));
      s.output("y", add(s.c, stream, redistribute<rows_and<1>>(s.c, through)));
    });
  });
}

TEST_CASE("embedding, vocabulary cut: bitwise") {
  rolls(14000, [](dice& d, std::uint32_t seed) {
    const i64 B = d(0, 5), S_ = d(1, 6), vocabulary = d(1, 11), H = d(1, 5);
    whole ids = integers({B, S_}, seed, 0, static_cast<int>(vocabulary) - 1);
    whole learning = ids;  // without padding
    for (double& id : learning.value) id = seed % 2 == 0 && id == 1 ? -1 : id;
    const bool scatter = d(0, 1) == 1;
    compare("embedding", seed, any_mesh(d), true, [=](session& s) {
      const auto table = s.input<float, e2, L<on<tp, Shard<0>>>>("table", {vocabulary, H});
      const auto y = embedding(s.c, s.fixed<std::int64_t, e2, rows>(ids), s.fixed<std::int64_t, e2, rows>(learning), table);
      if (scatter) s.output("y", redistribute<rows_and<1>>(s.c, y));
      else s.output("y", redistribute<rows_invariant>(s.c, y));
    });
  });
}

TEST_CASE("styles: gathered outputs, a split input, an embedding cut by columns, all-reduced scores: bitwise") {
  rolls(14500, [](dice& d, std::uint32_t seed) {
    const i64 B = d(0, 4), S_ = d(1, 4), vocabulary = d(1, 9), H = d(1, 6), O = d(1, 7);
    const whole ids = integers({B, S_}, seed, 0, static_cast<int>(vocabulary) - 1);
    const mesh_shape m = any_mesh(d);
    compare("gathered and split again", seed, m, true, [=](session& s) {
      using up = styled<colwise_gather_output<tp>, tensor<float, e2, L<on<tp, Shard<0>>>>>;
      using down = styled<rowwise<tp>, tensor<float, e2, L<on<tp, Shard<1>>>>>;
      const auto x = s.input<float, e3, rows>("x", {B, S_, H});
      const auto y = project(s.c, x, up(s.input<float, e2, L<on<tp, Shard<0>>>>("up", {O, H})));
      static_assert(std::is_same_v<std::decay_t<decltype(y)>::layout_type, rows_invariant>);
      const auto z = redistribute<rows_and<2>>(s.c, y);
      s.output("z", project(s.c, z, down(s.input<float, e2, L<on<tp, Shard<1>>>>("down", {H, O}))));
    });
    compare("embedding by columns", seed, m, true, [=](session& s) {
      using columns = styled<embedding_colwise<tp>, tensor<float, e2, L<on<tp, Shard<1>>>>>;
      const auto table = columns(s.input<float, e2, L<on<tp, Shard<1>>>>("table", {vocabulary, H}));
      const auto y = embed(s.c, s.fixed<std::int64_t, e2, rows>(ids), table);
      static_assert(std::is_same_v<std::decay_t<decltype(y)>::layout_type, rows_invariant>);
      s.output("y", y);
    });
    compare("all-reduced scores", seed, m, true, [=](session& s) {
      const auto x = s.input<float, e3, rows_and<2>>("x", {B, S_, H});
      const auto scores = linear(s.c, x, s.input<float, e2, L<on<tp, Shard<1>>>>("w", {O, H}));
      s.output("scores", redistribute<rows_invariant>(s.c, scores));
    });
  });
}

namespace {

/// k different experts for each of `tokens`.
whole any_choice(dice& d, i64 tokens, i64 experts, i64 k) {
  whole ids({tokens, k});
  for (i64 t = 0; t < tokens; ++t) {
    std::vector<i64> order;
    for (i64 e = 0; e < experts; ++e) order.push_back(e);
    for (i64 j = 0; j < k; ++j) {
      std::swap(order[static_cast<std::size_t>(j)], order[static_cast<std::size_t>(d(static_cast<int>(j), static_cast<int>(experts) - 1))]);
      ids.value[static_cast<std::size_t>(t * k + j)] = static_cast<double>(order[static_cast<std::size_t>(j)]);
    }
  }
  return ids;
}
/// A routing among so many experts that is given, with integer scores: what is left of the experts is linear. Tokens are [T, H].
template <class Layout>
routing<float, Layout, 2> given(session& s, const whole& ids, i64 experts) {
  routing<float, Layout, 2> r;
  const auto scores = s.input<float, e2, Layout>("scores", ids.extent);
  r.arrays.scores = scores.data();
  r.arrays.ids = s.fixed<std::int32_t, e2, Layout>(ids).data();
  r.arrays.probabilities = r.arrays.scores;
  r.logits = s.fixed<float, e2, Layout>(whole({ids.extent[0], experts})).data();
  return r;
}

}  // namespace

TEST_CASE("experts, cut over ranks or inside: dispatch, grouped linear, combine: bitwise") {
  rolls(15000, [](dice& d, std::uint32_t seed) {
    const i64 T = d(0, 9), E = d(1, 7), H = d(1, 5), F = d(1, 5), k = d(1, static_cast<int>(std::min<i64>(E, 3)));
    const whole ids = any_choice(d, T, E, k);
    compare("experts over ep", seed, any_mesh(d, 2, 2, 3), true, [=](session& s) {
      using tokens = L<on<outer, Shard<0>>>;
      const auto x = redistribute<tokens>(s.c, s.input<float, e2, L<on<data, Shard<0>>>>("x", {T, H}));
      const auto up = s.input<float, e3, L<on<ep, Shard<0>>>>("up", {E, F, H});
      const auto down = s.input<float, e3, L<on<ep, Shard<0>>>>("down", {E, H, F});
      const auto r = given<tokens>(s, ids, E);
      const auto y = combine(s.c, grouped_linear(s.c, grouped_linear(s.c, dispatch(s.c, x, r, up), up), down), r, x);
      static_assert(std::is_same_v<decltype(y)::layout_type, L<on<outer, Shard<0>>, on<ep, Partial>>>);
      s.output("y", redistribute<L<on<data, Shard<0>>, on<tp, Invariant>>>(s.c, y));
    });
    compare("experts over ep, rows sent", seed, any_mesh(d, 2, 2, 3), true, [=](session& s) {
      using tokens = L<on<data, Shard<0>>, on<tp, Shard<0>>>;
      const auto x = s.input<float, e2, tokens>("x", {T, H});
      const auto up = s.input<float, e3, L<on<ep, Shard<0>>>>("up", {E, F, H});
      const auto down = s.input<float, e3, L<on<ep, Shard<0>>>>("down", {E, H, F});
      const auto r = given<tokens>(s, ids, E);
      const auto away = grouped_linear(s.c, grouped_linear(s.c, to_experts(s.c, dispatch(s.c, x, r, up)), up), down);
      static_assert(std::is_same_v<decltype(away.rows)::layout_type, L<on<outer, RaggedByToken>, on<ep, Ragged>>>);
      const auto y = combine(s.c, to_tokens(s.c, away), r, x);
      static_assert(std::is_same_v<decltype(y)::layout_type, tokens>);
      s.output("y", y);
    });
    compare("experts cut inside", seed, any_mesh(d, 2, 2, 3), true, [=](session& s) {
      const auto x = s.input<float, e2, rows>("x", {T, H});
      const auto up = s.input<float, e3, L<on<tp, StridedShard<1, 2>>>>("up", {E, 2 * F, H});
      const auto down = s.input<float, e3, L<on<tp, StridedShard<2, 2>>>>("down", {E, H, 2 * F});
      const auto r = given<rows>(s, ids, E);
      const auto y = combine(s.c, grouped_linear(s.c, grouped_linear(s.c, dispatch(s.c, x, r, up), up), down), r, x);
      static_assert(std::is_same_v<decltype(y)::layout_type, L<on<data, Shard<0>>, on<tp, Partial>>>);
      s.output("y", redistribute<rows_invariant>(s.c, y));
    });
    compare("experts cut by columns only", seed, any_mesh(d, 2, 2, 3), true, [=](session& s) {
      const auto x = s.input<float, e2, rows>("x", {T, H});
      const auto up = s.input<float, e3, L<on<tp, Shard<1>>>>("up", {E, F, H});
      const auto r = given<rows>(s, ids, E);
      const auto y = combine(s.c, grouped_linear(s.c, dispatch(s.c, x, r, up), up), r, x);
      s.output("y", redistribute<rows_invariant>(s.c, y));
    });
  });
}

TEST_CASE("an expert that returns its token joins the pending sum of the others once: bitwise") {
  rolls(15500, [](dice& d, std::uint32_t seed) {
    const i64 T = d(0, 9), E = d(1, 7), H = d(1, 5), F = d(1, 5), k = d(1, static_cast<int>(std::min<i64>(E, 3)));
    const whole ids = any_choice(d, T, E, k);
    compare("identity expert", seed, any_mesh(d, 2, 2, 3), true, [=](session& s) {
      using tokens = L<on<outer, Shard<0>>>;
      const auto x = redistribute<tokens>(s.c, s.input<float, e2, L<on<data, Shard<0>>>>("x", {T, H}));
      const auto up = s.input<float, e3, L<on<ep, Shard<0>>>>("up", {E, F, H});
      const auto down = s.input<float, e3, L<on<ep, Shard<0>>>>("down", {E, H, F});
      const auto r = given<tokens>(s, ids, E);
      const auto real = combine(s.c, grouped_linear(s.c, grouped_linear(s.c, dispatch(s.c, x, r, up), up), down), r, x);
      using pending = std::decay_t<decltype(real)>::layout_type;
      const auto y = add(s.c, real, redistribute<pending>(s.c, scale(s.c, x, 3.0)));
      s.output("y", redistribute<L<on<data, Shard<0>>, on<tp, Invariant>>>(s.c, y));
    });
  });
}

TEST_CASE("a whole sparse layer with its router, over ranks and inside: float64") {
  rolls(16000, [](dice& d, std::uint32_t seed) {
    const i64 B = d(0, 4), S_ = d(1, 4), E = d(1, 6), H = d(1, 6), F = d(1, 5), k = d(1, static_cast<int>(std::min<i64>(E, 3)));
    const bool normalise = d(0, 1) == 1;
    compare("sparse layer over ep", seed, any_mesh(d, 2, 2, 3), false, [=](session& s) {
      using entered = L<on<outer, Shard<0>>>;
      const auto x = redistribute<entered>(s.c, s.input<double, e3, rows_and<1>>("x", {B, S_, H}));
      const auto up = s.input<double, e3, L<on<ep, Shard<0>>>>("up", {E, 2 * F, H});
      const auto down = s.input<double, e3, L<on<ep, Shard<0>>>>("down", {E, H, F});
      const auto r = route(s.c, linear(s.c, x, s.input<double, e2, weights>("gate", {E, H})), k, {.normalise = normalise});
      const auto y = combine(s.c, grouped_linear(s.c, swiglu(s.c, grouped_linear(s.c, dispatch(s.c, x, r, up), up)), down), r, x);
      s.output("y", redistribute<rows_and<1>>(s.c, y));
    });
    compare("sparse layer over ep, rows sent", seed, any_mesh(d, 2, 2, 3), false, [=](session& s) {
      const auto x = s.input<double, e3, rows_and<1>>("x", {B, S_, H});
      const auto up = s.input<double, e3, L<on<ep, Shard<0>>>>("up", {E, 2 * F, H});
      const auto down = s.input<double, e3, L<on<ep, Shard<0>>>>("down", {E, H, F});
      const auto r = route(s.c, linear(s.c, x, s.input<double, e2, weights>("gate", {E, H})), k, {.normalise = normalise});
      const auto away = swiglu(s.c, grouped_linear(s.c, to_experts(s.c, dispatch(s.c, x, r, up)), up));
      s.output("y", combine(s.c, to_tokens(s.c, grouped_linear(s.c, away, down)), r, x));
    });
    compare("sparse layer cut inside", seed, any_mesh(d, 2, 2, 3), false, [=](session& s) {
      const auto x = redistribute<rows>(s.c, s.input<double, e3, rows_invariant>("x", {B, S_, H}));
      const auto up = s.input<double, e3, L<on<tp, StridedShard<1, 2>>>>("up", {E, 2 * F, H});
      const auto down = s.input<double, e3, L<on<tp, Shard<2>>>>("down", {E, H, F});
      const auto r = route(s.c, linear(s.c, x, s.input<double, e2, weights>("gate", {E, H})), k, {.normalise = normalise});
      const auto y = combine(s.c, grouped_linear(s.c, swiglu(s.c, grouped_linear(s.c, dispatch(s.c, x, r, up), up)), down), r, x);
      s.output("y", redistribute<rows_invariant>(s.c, y));
    });
  });
}

TEST_CASE("routers of other kinds, with a correction of the choice: float64") {
  rolls(16500, [](dice& d, std::uint32_t seed) {
    const i64 B = d(0, 4), S_ = d(1, 4), E = 2 * d(1, 4), H = d(1, 6), F = d(1, 5), k = d(1, static_cast<int>(E / 2));
    router_options o{.scoring = d(0, 1) == 1 ? router_scoring::sigmoid : router_scoring::softmax, .normalise = d(0, 1) == 1, .epsilon = 1e-20,
                     .factor = 2.5, .groups = 2, .kept_groups = d(1, 2), .worth = d(0, 1) == 1 ? group_worth::two_best : group_worth::best};
    const whole correction = reals({1, E}, seed + 77);
    compare("corrected router", seed, any_mesh(d, 2, 2, 3), false, [=](session& s) {
      const auto x = redistribute<L<on<outer, Shard<0>>>>(s.c, s.input<double, e3, rows_and<1>>("x", {B, S_, H}));
      const auto up = s.input<double, e3, L<on<ep, Shard<0>>>>("up", {E, 2 * F, H});
      const auto down = s.input<double, e3, L<on<ep, Shard<0>>>>("down", {E, H, F});
      const auto r = route(s.c, linear(s.c, x, s.input<double, e2, weights>("gate", {E, H})), s.fixed<double, e2, weights>(correction), k, o);
      const auto y = combine(s.c, grouped_linear(s.c, swiglu(s.c, grouped_linear(s.c, dispatch(s.c, x, r, up), up)), down), r, x);
      s.output("y", redistribute<rows_and<1>>(s.c, y));
    });
    if (E < 4) return;
    compare("sparsemixer", seed, any_mesh(d, 2, 2, 3), false, [=](session& s) {
      const auto x = redistribute<rows>(s.c, s.input<double, e3, rows_invariant>("x", {B, S_, H}));
      const auto up = s.input<double, e3, L<on<tp, StridedShard<1, 2>>>>("up", {E, 2 * F, H});
      const auto down = s.input<double, e3, L<on<tp, Shard<2>>>>("down", {E, H, F});
      const auto r = route(s.c, linear(s.c, x, s.input<double, e2, weights>("gate", {E, H})), 2,
                           {.scoring = router_scoring::sparsemixer, .nearness = 0.5});
      const auto y = combine(s.c, grouped_linear(s.c, swiglu(s.c, grouped_linear(s.c, dispatch(s.c, x, r, up), up)), down), r, x);
      s.output("y", redistribute<rows_invariant>(s.c, y));
    });
  });
}

TEST_CASE("swiglu, packed and in two parts: float64") {
  rolls(17000, [](dice& d, std::uint32_t seed) {
    const i64 B = d(0, 5), S_ = d(1, 3), F = d(1, 9);
    compare("swiglu", seed, any_mesh(d), false, [=](session& s) {
      s.output("y", swiglu(s.c, s.input<double, e3, L<on<data, Shard<0>>, on<tp, StridedShard<2, 2>>>>("packed", {B, S_, 2 * F})));
      s.output("z", swiglu(s.c, s.input<double, e3, rows_and<2>>("gate", {B, S_, F}), s.input<double, e3, rows_and<2>>("up", {B, S_, F})));
    });
  });
}

TEST_CASE("rms norm over cut rows: float64") {
  rolls(18000, [](dice& d, std::uint32_t seed) {
    const i64 B = d(0, 5), S_ = d(1, 6), H = d(1, 9);
    compare("rms_norm", seed, any_mesh(d), false, [=](session& s) {
      s.output("y", rms_norm(s.c, s.input<double, e3, rows_and<1>>("x", {B, S_, H}), s.input<double, e1, weights>("w", {H}), 1e-6));
      s.output("z", rms_norm(s.c, s.input<double, e3, rows_invariant>("u", {B, S_, H}), s.input<double, e1, L<on<tp, Invariant>>>("v", {H}), 1e-6));
    });
    compare("layer_norm", seed, any_mesh(d), false, [=](session& s) {
      s.output("y", layer_norm(s.c, s.input<double, e3, rows_and<1>>("x", {B, S_, H}), s.input<double, e1, weights>("w", {H}),
                               s.input<double, e1, weights>("b", {H}), 1e-3));
      using whole_vector = L<on<tp, Invariant>>;
      s.output("z", layer_norm(s.c, s.input<double, e3, rows_invariant>("u", {B, S_, H}), s.input<double, e1, whole_vector>("v", {H}),
                               s.input<double, e1, whole_vector>("a", {H}), 1e-3));
    });
  });
}

TEST_CASE("attention by heads, grouped, rotated, in segments: float64") {
  rolls(19000, [](dice& d, std::uint32_t seed) {
    const mesh_shape m = any_mesh(d);
    const i64 B = d(0, 4), S_ = d(1, 7), kv = m.size[2] * d(1, 2), heads = kv * d(1, 3), half = d(1, 3), H = d(1, 5), head = 2 * half;
    whole start({B, S_});
    for (i64 b = 0; b < B; ++b) {
      i64 segment = 0;
      for (i64 p = 0; p < S_; ++p) {
        if (p > 0 && d(0, 3) == 0) segment = p;
        start.value[static_cast<std::size_t>(b * S_ + p)] = static_cast<double>(segment);
      }
    }
    const whole angle = reals({B, S_, half}, seed + 77, 3.0);
    whole cosine = angle, sine = angle;
    for (double& v : cosine.value) v = std::cos(v);
    for (double& v : sine.value) v = std::sin(v);
    compare("attention", seed, m, false, [=](session& s) {
      const auto x = redistribute<rows>(s.c, s.input<double, e3, rows_and<1>>("x", {B, S_, H}));
      const auto c = s.fixed<double, e3, rows>(cosine), n = s.fixed<double, e3, rows>(sine);
      using cut = L<on<tp, Shard<0>>>;
      const auto q = rope(s.c, split_heads(s.c, linear(s.c, x, s.input<double, e2, cut>("wq", {heads * head, H})), head), c, n);
      const auto k = rope(s.c, split_heads(s.c, linear(s.c, x, s.input<double, e2, cut>("wk", {kv * head, H})), head), c, n);
      const auto v = split_heads(s.c, linear(s.c, x, s.input<double, e2, cut>("wv", {kv * head, H})), head);
      const auto o = merge_heads(s.c, attention(s.c, q, k, v, s.fixed<std::int32_t, e2, rows>(start), 0.4));
      s.output("o", o);
      s.output("y", redistribute<rows_and<1>>(s.c, linear(s.c, o, s.input<double, e2, L<on<tp, Shard<1>>>>("wo", {H, heads * head}))));
    });
  });
}

TEST_CASE("latent attention: heads cut after a latent that every rank has, one rotary key for all of them: float64") {
  rolls(22000, [](dice& d, std::uint32_t seed) {
    const mesh_shape m = any_mesh(d);
    const i64 B = d(0, 3), S_ = d(1, 6), heads = m.size[2] * d(1, 2), half = d(1, 2), nope = d(1, 4), wide = d(1, 5), latent = d(1, 5), H = d(1, 5);
    const rotary_form form{nope, d(0, 1) == 1}, alone{0, form.interleaved};
    const whole angle = reals({B, S_, half}, seed + 77, 3.0), start({B, S_});
    whole cosine = angle, sine = angle;
    for (double& v : cosine.value) v = std::cos(v);
    for (double& v : sine.value) v = std::sin(v);
    compare("latent attention", seed, m, false, [=](session& s) {
      const auto x = redistribute<rows>(s.c, s.input<double, e3, rows_and<1>>("x", {B, S_, H}));
      const auto c = s.fixed<double, e3, rows>(cosine), n = s.fixed<double, e3, rows>(sine);
      using cut = L<on<tp, Shard<0>>>;
      const auto q = rope(s.c, split_heads(s.c, linear(s.c, x, s.input<double, e2, cut>("wq", {heads * (nope + 2 * half), H})), nope + 2 * half), c, n, form);
      const auto down = split_columns(s.c, linear(s.c, x, s.input<double, e2, weights>("wa", {latent + 2 * half, H})), latent);
      const auto normed = rms_norm(s.c, down.left, s.input<double, e1, weights>("norm", {latent}), 1e-6);
      const auto up = split_heads(s.c, linear(s.c, normed, s.input<double, e2, cut>("wb", {heads * (nope + wide), latent})), nope + wide);
      const auto kv = split_columns(s.c, up, nope);
      const auto turned = rope(s.c, as_one_head(s.c, down.right), c, n, alone);
      const auto k = join_columns(s.c, kv.left, repeat_heads<decltype(up)::layout_type>(s.c, turned, heads));
      const auto o = merge_heads(s.c, attention(s.c, q, k, kv.right, s.fixed<std::int32_t, e2, rows>(start), 0.4));
      s.output("y", redistribute<rows_and<1>>(s.c, linear(s.c, o, s.input<double, e2, L<on<tp, Shard<1>>>>("wo", {H, heads * wide}))));
    });
  });
}

TEST_CASE("fewer key heads than ranks: each rank repeats those that its queries need: float64") {
  rolls(23000, [](dice& d, std::uint32_t seed) {
    const mesh_shape m = any_mesh(d);
    const i64 B = d(0, 3), S_ = d(1, 6), kv = d(1, 3), copies = std::lcm(kv, static_cast<i64>(m.size[2])), heads = copies * d(1, 2), head = d(1, 4), H = d(1, 5);
    const whole start({B, S_});
    compare("repeated heads", seed, m, false, [=](session& s) {
      const auto x = redistribute<rows>(s.c, s.input<double, e3, rows_and<1>>("x", {B, S_, H}));
      const auto q = split_heads(s.c, linear(s.c, x, s.input<double, e2, L<on<tp, Shard<0>>>>("wq", {heads * head, H})), head);
      const auto k = split_heads(s.c, linear(s.c, x, s.input<double, e2, weights>("wk", {kv * head, H})), head);
      const auto v = split_heads(s.c, linear(s.c, x, s.input<double, e2, weights>("wv", {kv * head, H})), head);
      using as_q = decltype(q)::layout_type;
      s.output("o", attention(s.c, q, repeat_heads<as_q>(s.c, k, copies), repeat_heads<as_q>(s.c, v, copies), s.fixed<std::int32_t, e2, rows>(start), 0.4));
    });
  });
}

TEST_CASE("columns and heads of pending sums, and of heads already cut: bitwise") {
  rolls(24000, [](dice& d, std::uint32_t seed) {
    const mesh_shape m = any_mesh(d);
    const i64 B = d(0, 3), S_ = d(1, 4), heads = m.size[2] * d(1, 2), a = d(1, 4), b = d(1, 4), times = d(1, 3);
    compare("columns", seed, m, true, [=](session& s) {
      const auto x = s.input<float, e3, L<on<data, Shard<0>>, on<tp, Partial>>>("x", {B, S_, a + b});
      const auto parts = split_columns(s.c, x, a);
      s.output("y", redistribute<rows_invariant>(s.c, join_columns(s.c, parts.right, scale(s.c, parts.left, 2))));
      const auto left = split_columns(s.c, x, b).left;  // the other part has no gradient
      s.output("z", redistribute<rows_invariant>(s.c, left));
      const auto h = s.input<float, extents<dyn, dyn, dyn, dyn>, rows_and<2>>("h", {B, S_, heads, a});
      s.output("more", repeat_heads<decltype(h)::layout_type>(s.c, h, times * heads));
    });
  });
}

TEST_CASE("cross entropy over a cut vocabulary, some rows ignored: float64") {
  rolls(20000, [](dice& d, std::uint32_t seed) {
    const i64 B = d(0, 5), S_ = d(1, 5), vocabulary = d(1, 11);
    whole labels = integers({B, S_}, seed, 0, static_cast<int>(vocabulary) - 1);
    for (double& v : labels.value)
      if (d(0, 3) == 0) v = -100;
    compare("cross entropy", seed, any_mesh(d), false, [=](session& s) {
      const auto logits = scale(s.c, s.input<double, e3, rows_and<2>>("logits", {B, S_, vocabulary}), 9.0);
      const auto ids = s.fixed<std::int64_t, e2, rows>(labels);
      const auto highest = row_maximum(s.c, logits);
      const auto maximum = redistribute<reduced_layout_t<decltype(highest)::layout_type>>(s.c, highest);
      const auto parts = cross_entropy_parts(s.c, logits, maximum, ids);
      const auto summed = redistribute<reduced_layout_t<decltype(parts)::layout_type>>(s.c, parts);
      const auto loss = cross_entropy_sum(s.c, summed, ids, 0.125);
      static_assert(std::is_same_v<decltype(loss)::layout_type, L<on<data, Partial>, on<tp, Invariant>>>);
      s.output("loss", redistribute<invariant>(s.c, loss));
    });
  });
}

TEST_CASE("balancing loss over all valid tokens of all ranks: float64") {
  rolls(21000, [](dice& d, std::uint32_t seed) {
    const i64 B = d(1, 5), S_ = d(1, 5), E = d(1, 7), k = d(1, static_cast<int>(std::min<i64>(E, 3)));
    whole valid({B, S_});
    double tokens = 0;
    for (double& v : valid.value) tokens += v = d(0, 3) > 0;
    compare("balance", seed, any_mesh(d), false, [=](session& s) {
      const auto logits = s.input<double, e3, rows>("logits", {B, S_, E});
      const auto counted_here = router_statistics(s.c, route(s.c, scale(s.c, logits, 2.0), k, {.normalise = true}), s.fixed<std::uint8_t, e2, rows>(valid));
      const auto everywhere = redistribute<invariant>(s.c, redistribute<partial>(s.c, counted_here));
      s.output("loss", balance(s.c, everywhere, tokens));
    });
  });
}

TEST_CASE("parallel equals serial: the count") {
  std::string by_name;
  for (const auto& [name, n] : counted().by_name) by_name += "\n  " + name + ": " + std::to_string(n);
  MESSAGE("parallel equals serial: ", counted().good, " of ", counted().cases, " cases, seeds 10000 to 24000 + 0.." , rounds - 1, by_name);
  CHECK(counted().good == counted().cases);
  CHECK(counted().cases >= 500);
  for (const auto& result : counted().ever_nonzero) CHECK_MESSAGE(result.second, result.first);
}
