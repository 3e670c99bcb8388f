// The parameter store on a small table made by hand: FSDP over uneven and empty shards equals no FSDP, bit for bit; every gradient
// element is counted once; prefetching and recomputation change nothing; gathered memory stays below its bound.
#include "support.hpp"

#include <atomic>
#include <map>
#include <mutex>

#include "plait/ops/dense.hpp"
#include "plait/ops/recompute.hpp"
#include "plait/train/finite.hpp"
#include "plait/train/parameter_store.hpp"

using namespace numeric;

namespace {

// Mesh: outer, inner (data axes), tp.
constexpr int atoms = 3;

/// How a parameter lies: on tp while it is used, and how storage cuts it over the data axes.
struct lying {
  placement_value on_tp = I;
  bool over_outer = true, over_inner = true;
  int dim = 0;
};
struct row {
  const char* name;
  std::vector<i64> extent;
  int unit;
};
/// x[B,3] -> up[5] -> down[7] + bias -> a chain of squares of several sizes -> last[2].
const std::vector<row>& table() {
  static const std::vector<row> rows{{"up", {5, 3}, 0}, {"down", {7, 5}, 1}, {"bias", {7}, 1}, {"wide", {12, 7}, 2}, {"back", {4, 12}, 3}, {"small", {4, 4}, 4}, {"last", {2, 4}, 5}};
  return rows;
}
constexpr int unit_count = 6;

struct variant {
  const char* name;
  std::map<std::string, lying> rows;  // rows not named: Invariant on tp, cut by dim 0 over both data axes
};
const std::vector<variant>& variants() {
  static const std::vector<variant> all{
      {"fsdp over both data axes", {}},
      {"fsdp by the second dim", {{"up", {I, true, true, 1}}, {"wide", {I, true, true, 1}}, {"last", {I, true, true, 1}}}},
      {"copies over outer, fsdp over inner", {{"up", {I, false, true, 0}}, {"down", {I, false, true, 0}}, {"bias", {I, false, true, 0}}, {"wide", {I, false, true, 0}},
                                               {"back", {I, false, true, 0}}, {"small", {I, false, true, 0}}, {"last", {I, false, true, 0}}}},
      {"no fsdp", {{"up", {I, false, false, 0}}, {"down", {I, false, false, 0}}, {"bias", {I, false, false, 0}}, {"wide", {I, false, false, 0}},
                   {"back", {I, false, false, 0}}, {"small", {I, false, false, 0}}, {"last", {I, false, false, 0}}}},
      {"several groups of axes in one unit", {{"down", {I, true, false, 0}}, {"bias", {I, false, true, 0}}}},
      {"tensor parallel inside fsdp", {{"up", {S(0), true, true, 0}}, {"down", {S(1), true, true, 0}}, {"wide", {S(0), true, true, 1}}, {"back", {S(1), true, true, 1}}}},
      {"tensor parallel, replicated small", {{"up", {S(0), true, true, 0}}, {"down", {S(1), false, true, 0}}, {"small", {R, true, true, 0}}}},
  };
  return all;
}

struct settings {
  bool prefetch = true;
  gathered policy = gathered::free_after_forward;
  dtype compute = dtype::f32;
  int micro_batches = 1, steps = 1;
};

struct outcome {
  std::map<std::string, whole> gradient, master;
  double norm = 0;
  std::int64_t peak = 0, bound = 0, left = 0;
  std::string problem;
};

/// The layout that typing computes; a test that types wrongly fails here.
array linear(context& c, array x, const array& w) {
  layout_value to = x.layout;
  const placement_value wanted = w.layout.at[2].cuts(1) ? S(1) : (w.layout.at[2] == I ? I : R);
  if (!(x.layout.at[2] == wanted)) {
    layout_builder b(atoms);
    for (int a = 0; a < atoms; ++a) b.place(a, a == 2 ? wanted : to.at[a]);
    x = runtime::redistribute(c, x, b.value);
  }
  const typed t = typing::linear(x.layout, 2, w.layout);
  if (!t.ok()) throw std::logic_error("the test's own layouts do not fit");
  array y = runtime::linear(c, x, w, t.out);
  if (y.layout.at[2] == P) y = runtime::redistribute(c, y, layout_of({S(0), S(0), I}));
  return y;
}

array unit_forward(context& c, parameter_store& store, int u, array x) {
  const auto p = [&](int r) { return store.compute_array(store.slot(r, -1)); };
  switch (u) {
    case 0: return linear(c, x, p(0));
    case 1: {
      const array y = linear(c, x, p(1)), b = p(2);
      return runtime::bias_add(c, y, b, y.layout);
    }
    default: return linear(c, x, p(u + 1));
  }
}

outcome run(const mesh_shape& mesh, const variant& v, const settings& o) {
  const poisoned nan;
  outcome out;
  std::mutex mutex;
  std::map<std::string, std::vector<std::vector<double>>> gradient, master;
  std::map<std::string, layout_value> stored;
  const std::size_t n = static_cast<std::size_t>(mesh.ranks());
  run_ranks(mesh, test_backend(), [&](context& c) {
    parameter_store store;
    store.types.compute = o.compute;
    store.prefetch = o.prefetch;
    store.set_rows(static_cast<int>(table().size()), 0);
    for (int u = 0; u < unit_count; ++u) store.add_unit("unit", u, u + 1 == unit_count ? gathered::keep : o.policy);
    for (std::size_t i = 0; i < table().size(); ++i) {
      const row& r = table()[i];
      const auto found = v.rows.find(r.name);
      const lying l = found == v.rows.end() ? lying{} : found->second;
      parameter_slot s;
      s.name = r.name;
      s.row = static_cast<int>(i);
      s.unit = r.unit;
      s.rank = static_cast<int>(r.extent.size());
      for (int d = 0; d < s.rank; ++d) s.global[d] = r.extent[static_cast<std::size_t>(d)];
      layout_builder compute(atoms), storage(atoms);
      compute.place(2, l.on_tp);
      storage.place(2, l.on_tp);
      const int dim = std::min(l.dim, s.rank - 1);
      if (l.over_outer) storage.place(0, S(dim));
      if (l.over_inner) storage.place(1, S(dim));
      s.compute = compute.value;
      s.storage = storage.value;
      store.add(c, s);
      parameter_slot& slot = store.slots.back();
      const std::vector<double> mine = piece(integers(r.extent, 100 + static_cast<std::uint32_t>(i), -2, 2), s.storage, c.mesh, c.rank, 0);
      for (std::size_t e = 0; e < mine.size(); ++e) set_element(slot.master, static_cast<i64>(e), mine[e]);
    }
    const i64 rows_of_batch = 5;  // uneven over the data ranks, some get none
    for (int step = 1; step <= o.steps; ++step) {
      store.zero_gradients(c);
      for (int micro = 0; micro < o.micro_batches; ++micro) {
        tape t;
        c.recording = &t;
        array x = make(c, integers({rows_of_batch, 3}, 7u + static_cast<std::uint32_t>(micro), -2, 2), layout_of({S(0), S(0), I}), o.compute, 0, false);
        for (int u = 0; u < unit_count; ++u) {
          store.enter_unit(c, u, u + 1 < unit_count ? u + 1 : -1);
          x = unit_forward(c, store, u, x);
          store.leave_unit(c, u, u - 1);
          std::lock_guard lock(mutex);
          if (store.live_gathered_bytes() > store.gathered_bound()) out.problem = "more gathered than the bound";
        }
        seed_gradient(c, x, integers({rows_of_batch, 2}, 50u + static_cast<std::uint32_t>(micro), -2, 2), 9);
        run_backward(c, t);
        c.recording = nullptr;
      }
      store.synchronise_gradients(c);
      const double norm = store.gradient_norm(c);
      std::lock_guard lock(mutex);
      if (c.rank == 0) out.norm = norm;
      out.left = std::max(out.left, store.live_gathered_bytes());
      if (step == o.steps)
        for (const parameter_slot& s : store.slots) {
          gradient[s.name].resize(n);
          gradient[s.name][static_cast<std::size_t>(c.rank)] = read(s.accumulated);
        }
      adamw_options adamw;
      adamw.step = step;
      adamw.learning_rate = 0.05;
      if (o.steps > 1) store.update(c, adamw);
    }
    std::lock_guard lock(mutex);
    for (const parameter_slot& s : store.slots) {
      master[s.name].resize(n);
      master[s.name][static_cast<std::size_t>(c.rank)] = read(s.master);
      stored[s.name] = s.storage;
    }
    out.peak = std::max(out.peak, store.peak_gathered_bytes());
    out.bound = std::max(out.bound, store.gathered_bound());
  });
  for (const row& r : table()) {
    const denoted g = denote(gradient.at(r.name), stored.at(r.name), r.extent, mesh), m = denote(master.at(r.name), stored.at(r.name), r.extent, mesh);
    if (!g.problem.empty() || !m.problem.empty()) out.problem = std::string(r.name) + ": " + g.problem + m.problem;
    out.gradient[r.name] = g.w;
    out.master[r.name] = m.w;
  }
  return out;
}

std::string difference(const outcome& a, const outcome& b) {
  if (!a.problem.empty() || !b.problem.empty()) return a.problem + b.problem;
  for (const row& r : table()) {
    if (first_difference(a.gradient.at(r.name), b.gradient.at(r.name)) >= 0) return std::string("gradient of ") + r.name;
    if (first_difference(a.master.at(r.name), b.master.at(r.name)) >= 0) return std::string("weights ") + r.name;
  }
  return "";
}

const std::vector<mesh_shape>& meshes() {
  static const std::vector<mesh_shape> all{mesh_of({1, 1, 1}), mesh_of({2, 1, 1}), mesh_of({1, 3, 1}), mesh_of({4, 1, 1}), mesh_of({1, 4, 1}), mesh_of({2, 2, 1}),
                                           mesh_of({1, 1, 2}), mesh_of({2, 1, 2}), mesh_of({1, 2, 3}), mesh_of({3, 2, 1}), mesh_of({2, 2, 2})};
  return all;
}

}  // namespace

TEST_CASE("store: sharded gradients equal unsharded ones, bit for bit, under every layout") {
  int cases = 0, good = 0;
  const outcome alone = run(mesh_of({1, 1, 1}), variants()[3], {});
  for (const variant& v : variants())
    for (const mesh_shape& mesh : meshes())
      for (const int micro_batches : {1, 2}) {
        settings o;
        o.micro_batches = micro_batches;
        const std::string problem = difference(micro_batches == 1 ? alone : run(mesh_of({1, 1, 1}), variants()[3], o), run(mesh, v, o));
        INFO(std::string(v.name), ", mesh ", mesh.size[0], " x ", mesh.size[1], " x ", mesh.size[2], ", micro-batches ", micro_batches);
        CHECK(problem == "");
        good += problem.empty();
        ++cases;
      }
  MESSAGE("sharded equals unsharded: ", good, " of ", cases);
}

TEST_CASE("store: bf16 gathered weights, float32 gradients: sharded equals unsharded") {
  settings o;
  o.compute = dtype::bf16;
  const outcome alone = run(mesh_of({1, 1, 1}), variants()[3], o);
  for (const std::size_t v : {0u, 1u, 2u, 4u})
    for (const mesh_shape& mesh : {mesh_of({4, 1, 1}), mesh_of({1, 3, 1}), mesh_of({2, 2, 1})}) {
      INFO(std::string(variants()[v].name), ", mesh ", mesh.size[0], " x ", mesh.size[1]);
      CHECK(difference(alone, run(mesh, variants()[v], o)) == "");
    }
}

TEST_CASE("store: the gradient norm counts every element once under every layout") {
  const outcome alone = run(mesh_of({1, 1, 1}), variants()[3], {});
  double squares = 0;
  for (const auto& [name, g] : alone.gradient)
    for (const double v : g.value) squares += v * v;
  CHECK(alone.norm == std::sqrt(squares));
  for (const variant& v : variants())
    for (const mesh_shape& mesh : meshes()) {
      INFO(std::string(v.name), ", mesh ", mesh.size[0], " x ", mesh.size[1], " x ", mesh.size[2]);
      CHECK(run(mesh, v, {}).norm == alone.norm);
    }
}

TEST_CASE("store: three AdamW steps on shards equal three steps on whole weights") {
  settings o;
  o.steps = 3;
  const outcome alone = run(mesh_of({1, 1, 1}), variants()[3], o);
  // After the first step the weights are no integers, and gradients over cut rows add up in another order: equal to rounding.
  for (const std::size_t v : {0u, 1u, 2u}) {
    const outcome many = run(mesh_of({2, 2, 1}), variants()[v], o);
    for (const row& r : table()) {
      INFO(std::string(variants()[v].name), ", ", std::string(r.name));
      CHECK(first_difference(alone.master.at(r.name), many.master.at(r.name), 1e-4) == -1);
    }
  }
}

TEST_CASE("store: prefetching gives the same bits, and gathered bytes stay below the bound") {
  for (const variant& v : variants())
    for (const mesh_shape& mesh : {mesh_of({4, 1, 1}), mesh_of({2, 2, 1}), mesh_of({1, 2, 2})})
      for (const gathered policy : {gathered::free_after_forward, gathered::keep}) {
        settings with, without;
        without.prefetch = false;
        with.policy = without.policy = policy;
        with.steps = without.steps = 2;
        const outcome a = run(mesh, v, with), b = run(mesh, v, without);
        INFO(std::string(v.name), ", mesh ", mesh.size[0], " x ", mesh.size[1], " x ", mesh.size[2], ", keep ", policy == gathered::keep);
        CHECK(difference(a, b) == "");
        CHECK(same_bits(a.norm, b.norm));
        CHECK(a.peak <= a.bound);
        CHECK(b.peak <= b.bound);
        CHECK(a.left == 0);
        CHECK(b.left == 0);
      }
}

TEST_CASE("store: without recording nothing stays gathered") {
  run_ranks(mesh_of({2, 1, 1}), test_backend(), [](context& c) {
    parameter_store store;
    store.set_rows(1, 0);
    store.add_unit("unit", -1, gathered::keep);
    parameter_slot s;
    s.name = "w";
    s.row = 0;
    s.rank = 2;
    s.global[0] = 5;
    s.global[1] = 2;
    s.compute = layout_of({R, R, R});
    s.storage = layout_of({S(0), R, R});
    store.add(c, s);
    CHECK(store.gathered_bound() >= 40);
    store.enter_unit(c, 0, -1);
    CHECK(store.live_gathered_bytes() == 40);
    CHECK(store.compute_array(store.slot(0, -1)).now().data != nullptr);
    store.leave_unit(c, 0, -1);
    CHECK(store.live_gathered_bytes() == 0);
    CHECK_THROWS_WITH(store.compute_array(store.slot(0, -1)).now(), doctest::Contains("outside of its unit"));
  });
}

TEST_CASE("store: a parameter that is cut evenly by its first dim comes and goes in one copy, however many ranks share it") {
  static std::atomic<int> copies;
  static const backend* below;
  copies = 0;
  below = &test_backend();
  backend counting = *below;
  counting.copy_box = [](const execution& ex, void* to, const std::int64_t* to_extent, const std::int64_t* to_start, const void* from, const std::int64_t* from_extent,
                         const std::int64_t* from_start, const std::int64_t* count, int rank, std::size_t element) {
    ++copies;
    below->copy_box(ex, to, to_extent, to_start, from, from_extent, from_start, count, rank, element);
  };
  const auto copies_of = [&](std::initializer_list<i64> rows, int dim, int ranks) {
    copies = 0;
    run_ranks(mesh_of({ranks, 1, 1}), counting, [&](context& c) {
      parameter_store store;
      store.set_rows(static_cast<int>(rows.size()), 0);
      store.add_unit("unit", -1, gathered::keep);
      for (const i64 n : rows) {
        parameter_slot s;
        s.name = "w";
        s.row = static_cast<int>(store.slots.size());
        s.rank = 2;
        s.global[0] = dim == 0 ? n : 3;
        s.global[1] = dim == 0 ? 3 : n;
        s.compute = layout_of({R, R, R});
        s.storage = layout_of({S(dim), R, R});
        store.add(c, s);
        const std::vector<double> mine = piece(integers({s.global[0], s.global[1]}, 7, -9, 9), s.storage, c.mesh, c.rank, 0);
        for (std::size_t e = 0; e < mine.size(); ++e) set_element(store.slots.back().master, static_cast<i64>(e), mine[e]);
      }
      store.enter_unit(c, 0, -1);
      for (parameter_slot& s : store.slots) CHECK(read(store.compute_array(s).now()) == integers({s.global[0], s.global[1]}, 7, -9, 9).value);
    });
    return copies / ranks;
  };
  CHECK(copies_of({8, 12}, 0, 4) == 2);
  CHECK(copies_of({24, 12, 8}, 0, 2) == 3);
  CHECK(copies_of({8, 7}, 0, 4) == 1 + 4);  // 7 rows: 2, 2, 2, 1
  CHECK(copies_of({8}, 1, 4) == 4);
}

// ---- recompute -----------------------------------------------------------------------------------------------------------

namespace {

struct data_axis : axis<dyn> {};
struct tp_axis : axis<dyn> {};
struct node : mesh<data_axis, tp_axis> {};
template <class... E>
using L = layout<node, E...>;
using stream_layout = L<on<data_axis, Shard<0>>, on<tp_axis, Shard<1>>>;
using stream = tensor<float, extents<dyn, dyn, dyn>, stream_layout>;

struct one_output {
  stream x;
  template <class Visit>
  void each(Visit visit) { visit(x); }
};

struct block_weights {
  tensor<float, extents<dyn>, L<>> norm;
  tensor<float, extents<dyn, dyn>, L<on<tp_axis, StridedShard<0, 2>>>> up;
  tensor<float, extents<dyn, dyn>, L<on<tp_axis, Shard<1>>>> down;
};

std::map<std::string, std::vector<std::vector<double>>> gradients(const mesh_shape& mesh, bool again, bool nested) {
  const poisoned nan;
  std::map<std::string, std::vector<std::vector<double>>> out;
  std::mutex mutex;
  run_ranks(mesh, test_backend(), [&](context& c) {
    tape t;
    c.recording = &t;
    const stream x(make(c, reals({4, 6, 5}, 1), stream_layout::value, dtype::f32, 0, true));
    std::vector<block_weights> blocks;
    for (std::uint32_t b = 0; b < 3; ++b)
      blocks.push_back({tensor<float, extents<dyn>, L<>>(make(c, reals({5}, 10 + b), L<>::value, dtype::f32, 0, true)),
                        tensor<float, extents<dyn, dyn>, L<on<tp_axis, StridedShard<0, 2>>>>(
                            make(c, reals({12, 5}, 20 + b), L<on<tp_axis, StridedShard<0, 2>>>::value, dtype::f32, 0, true)),
                        tensor<float, extents<dyn, dyn>, L<on<tp_axis, Shard<1>>>>(
                            make(c, reals({5, 6}, 30 + b), L<on<tp_axis, Shard<1>>>::value, dtype::f32, 0, true))});
    stream y = x;
    for (const block_weights& w : blocks) {
      const auto inner = [w](context& k, const stream& in) {
        const auto h = redistribute<L<on<data_axis, Shard<0>>>>(k, rms_norm(k, in, w.norm, 1e-5));
        return one_output{redistribute<stream_layout>(k, linear(k, swiglu(k, linear(k, h, w.up)), w.down))};
      };
      const auto body = [inner, nested](context& k, const stream& in) {
        return one_output{add(k, in, nested && k.recording != nullptr ? recompute(k, inner, in).x : inner(k, in).x)};
      };
      y = again ? recompute(c, body, y).x : body(c, y).x;
    }
    seed_gradient(c, y.data(), reals({4, 6, 5}, 2), 3);
    run_backward(c, t);
    c.recording = nullptr;
    std::lock_guard lock(mutex);
    const auto note = [&](const std::string& name, const array& a) {
      out[name].resize(static_cast<std::size_t>(mesh.ranks()));
      out[name][static_cast<std::size_t>(c.rank)] = gradient_of(a);
    };
    out["y"].resize(static_cast<std::size_t>(mesh.ranks()));
    out["y"][static_cast<std::size_t>(c.rank)] = read(y.data().local);
    note("x", x.data());
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      note("norm" + std::to_string(b), blocks[b].norm.data());
      note("up" + std::to_string(b), blocks[b].up.data());
      note("down" + std::to_string(b), blocks[b].down.data());
    }
  });
  return out;
}

}  // namespace

TEST_CASE("recompute: gradients are bitwise those of the plain run") {
  for (const mesh_shape& mesh : {mesh_of({1, 1}), mesh_of({2, 1}), mesh_of({1, 2}), mesh_of({2, 3})}) {
    const auto plain = gradients(mesh, false, false);
    for (const bool nested : {false, true}) {
      const auto again = gradients(mesh, true, nested);
      INFO("mesh ", mesh.size[0], " x ", mesh.size[1], ", nested ", nested);
      int unlike = 0;
      for (const auto& [name, held] : plain)
        for (std::size_t r = 0; r < held.size(); ++r)
          for (std::size_t i = 0; i < held[r].size(); ++i) unlike += !same_bits(held[r][i], again.at(name)[r][i]);
      CHECK(unlike == 0);
      CHECK(plain.size() == again.size());
    }
  }
}

TEST_CASE("what is not trained stays as it is, in the master's type, beside weights that FSDP cuts") {
  for (const dtype compute : {dtype::f32, dtype::bf16})
    run_ranks(mesh_of({2, 2, 1}), test_backend(), [&](context& c) {
      parameter_store store;
      store.types.compute = compute;
      store.set_rows(2, 0);
      store.add_unit("unit", -1, gathered::free_after_forward);
      for (const bool trained : {true, false}) {
        parameter_slot s;
        s.name = trained ? "w" : "correction";
        s.row = trained ? 0 : 1;
        s.trained = trained;
        s.rank = 1;
        s.global[0] = 6;
        s.compute = layout_of({R, R, I});
        s.storage = trained ? layout_of({S(0), S(0), I}) : s.compute;
        store.add(c, s);
        for (i64 i = 0; i < store.slots.back().storage_local.size(); ++i) set_element(store.slots.back().master, i, 1.0 + static_cast<double>(i) / 1024);
      }
      parameter_slot& frozen = store.slots[1];
      const std::vector<double> before = read(frozen.master);
      CHECK(frozen.moment1.data == nullptr);
      CHECK(frozen.accumulated.data == nullptr);
      tape t;
      c.recording = &t;
      store.zero_gradients(c);
      store.enter_unit(c, 0, -1);
      const array seen = store.compute_array(frozen);
      CHECK(seen.type() == dtype::f32);
      CHECK(read(seen.now()) == before);
      CHECK_FALSE(detail::wants_gradient(c, seen));
      CHECK(detail::wants_gradient(c, store.compute_array(store.slots[0])));
      store.leave_unit(c, 0, -1);
      run_backward(c, t);
      c.recording = nullptr;
      c.ops->fill(c.exec, store.slots[0].accumulated, 1.0);
      store.synchronise_gradients(c);
      CHECK(store.gradient_norm(c) == doctest::Approx(std::sqrt(6.0)));
      adamw_options adamw;
      const std::vector<double> trained_before = read(store.slots[0].master);
      store.update(c, adamw);
      CHECK(read(frozen.master) == before);
      if (!trained_before.empty()) CHECK(read(store.slots[0].master) != trained_before);
    });
}

TEST_CASE("a store holds no more than its use needs") {
  for (const store_use use : {store_use::training, store_use::gradients, store_use::inference})
    run_ranks(mesh_of({2, 1, 1}), test_backend(), [&](context& c) {
      parameter_store store;
      store.use = use;
      store.types.compute = dtype::bf16;
      if (use == store_use::inference) store.types.parameter = store.types.master = dtype::bf16;  // as build_store does
      store.set_rows(1, 0);
      store.add_unit("unit", -1, gathered::keep);
      parameter_slot s;
      s.name = "w";
      s.row = 0;
      s.rank = 1;
      s.global[0] = 6;
      s.compute = s.storage = layout_of({R, R, R});
      store.add(c, s);
      const parameter_slot& w = store.slots[0];
      CHECK((w.moment1.data != nullptr && w.moment2.data != nullptr) == (use == store_use::training));
      CHECK((w.accumulated.data != nullptr) == (use != store_use::inference));
      CHECK((w.copy.data != nullptr) == (use != store_use::inference));  // inference computes with the stored weights themselves
      store.enter_unit(c, 0, -1);
      CHECK(store.compute_array(store.slots[0]).now().type == dtype::bf16);
      if (use == store_use::inference) CHECK(store.compute_array(store.slots[0]).now().data == w.master.data);
      store.leave_unit(c, 0, -1);
      if (use == store_use::inference) CHECK_THROWS_WITH(store.zero_gradients(c), doctest::Contains("for inference has no gradients"));
      else CHECK_NOTHROW(store.zero_gradients(c));
      if (use != store_use::training) CHECK_THROWS_WITH(store.update(c, {}), doctest::Contains("has no moments"));
    });
}

TEST_CASE("a number of a run's state that is not finite is found on every rank, in each type, wherever it lies") {
  for (const dtype type : {dtype::f32, dtype::f64, dtype::bf16})
    run_ranks(mesh_of({2, 1, 1}), test_backend(), [&](context& c) {
      parameter_store store;
      store.types.master = store.types.moment = type;
      store.set_rows(1, 0);
      store.add_unit("unit", -1, gathered::keep);
      parameter_slot s;
      s.name = "w";
      s.row = 0;
      s.rank = 2;
      s.global[0] = 4;
      s.global[1] = 1'100'000;  // more than one piece
      s.compute = layout_of({R, R, I});
      s.storage = layout_of({S(0), R, I});
      store.add(c, s);
      parameter_slot& w = store.slots[0];
      CHECK(state_is_finite(c, store));
      for (view* part : {&w.master, &w.moment1, &w.moment2})
        for (const auto& [wrong, where] : {std::pair{std::numeric_limits<double>::infinity(), part->size() - 1}, {-std::numeric_limits<double>::infinity(), i64{0}},
                                           {std::numeric_limits<double>::quiet_NaN(), part->size() - 1}})
          for (const int rank : {0, 1}) {
            if (c.rank == rank) set_element(*part, where, wrong);
            CHECK(!state_is_finite(c, store));
            if (c.rank == rank) set_element(*part, where, -3.0);
            CHECK(state_is_finite(c, store));
          }
    });
}
