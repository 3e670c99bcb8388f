// Whole decoders: packed rows, prefetching, what expert-parallel ranks hold after a load, plans of one's own, float64 agreement.
#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <mutex>

#include "plait/comm/rank_threads.hpp"
#include "support/cpu_backend.hpp"
#include "plait/io/config.hpp"
#include "plait/io/hf_folder.hpp"
#include "plait/io/implementation.hpp"
#include "plait/model/family.hpp"
#include "plait/model/mixtral.hpp"
#include "plait/train/load.hpp"

using namespace plait;

#ifndef PLAIT_TEST_DATA
#define PLAIT_TEST_DATA "tests"
#endif

namespace {

const std::string oracle_folder = std::string(PLAIT_TEST_DATA) + "/oracles/mixtral";

mesh_shape sizes(int outer, int inner, int tp_size) {
  mesh_shape m;
  m.atoms = 3;
  m.size[0] = outer, m.size[1] = inner, m.size[2] = tp_size;
  return m;
}

batch oracle_batch() {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < 40; ++i) ids.push_back((7 * i * i + 3 * i + 5) % 96);
  return batch::of(2, 20, ids);
}

struct outcome {
  double loss = 0, norm = 0, aux = 0;
  std::map<std::string, std::vector<double>> gradients;
  std::int64_t gathered_peak = 0, gathered_bound = 0;
};

/// Loss and whole gradients of one batch under a plan.
template <class Plan>
outcome evaluate(const mesh_shape& mesh, const batch& b, bool prefetch = true, double aux = 0.02, const std::string& from = oracle_folder) {
  const io::model_config config = io::read_config(from);
  const io::hf_folder folder(from);
  outcome out;
  run_ranks(mesh, test_backend(), [&](context& c) {
    parameter_store store;
    build_store(c, store, table_of<Plan, mixtral>(), numbers_of(config));
    store.prefetch = prefetch;
    load_weights(c, store, folder, config);
    decoder_model<Plan, mixtral> model(config, store, {});
    step_options o;
    o.update = false;
    o.aux_coefficient = aux;
    o.sparse_layers = 2;
    const step_result r = train_step(c, model, store, b, o);
    for (const parameter_slot& s : store.slots) {
      const array g = gather_whole(c, s, s.accumulated);
      if (c.rank != 0) continue;
      CHECK(s.has_gradient);
      view wide = g.local;
      wide.type = dtype::f64;
      std::vector<double>& values = out.gradients[s.name];
      values.resize(static_cast<std::size_t>(g.local.size()));
      wide.data = values.data();
      c.ops->cast(c.exec, g.local, wide);
    }
    if (c.rank == 0) {
      out.loss = r.loss, out.norm = r.gradient_norm, out.aux = r.aux_loss;
      out.gathered_peak = store.peak_gathered_bytes(), out.gathered_bound = store.gathered_bound();
    }
  });
  return out;
}

void check_close(const outcome& a, const outcome& b, double tolerance) {
  CHECK(std::abs(a.loss - b.loss) <= tolerance * std::abs(b.loss));
  REQUIRE(a.gradients.size() == b.gradients.size());
  for (const auto& entry : b.gradients) {
    const std::string& name = entry.first;  // clang 14 does not capture structured bindings
    const std::vector<double>& want = entry.second;
    const std::vector<double>& got = a.gradients.at(name);
    double difference = 0, size = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
      difference += (got[i] - want[i]) * (got[i] - want[i]);
      size += want[i] * want[i];
    }
    CAPTURE(name);
    CHECK(std::sqrt(difference) <= tolerance * std::sqrt(size) + 1e-15);
  }
}

struct mixtral_tp_f64 : with_precision<mixtral_tp, float64_precision> {};
struct mixtral_sp_ep_f64 : with_precision<mixtral_sp_ep, float64_precision> {};
struct mixtral_tp_dispatch_f64 : with_precision<with_dispatch<mixtral_tp_ep, mixtral>, float64_precision> {};

struct mixtral_tp_repeated_f64 : with_precision<repeated_heads_plan<mixtral_tp, mixtral>, float64_precision> {};
struct mixtral_sp_repeated_f64 : with_precision<repeated_heads_plan<mixtral_sp, mixtral>, float64_precision> {};

/// A plan of one's own: layer 1 keeps its experts whole per rank (expert parallel over tp), the others cut them inside.
struct tp_alias : axis_view<tp> {};
struct mixed_plan : plan<training_mesh,
    parameters<
        rule<"model.embed_tokens", vocabulary<tp>>,
        rule<"model.layers.*.input_layernorm", replicated<tp>>,
        rule<"model.layers.*.self_attn.q_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.k_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.v_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.o_proj", rowwise<tp>>,
        rule<"model.layers.*.post_attention_layernorm", replicated<tp>>,
        rule<"model.layers.*.mlp.gate", router<tp>>,
        rule<"model.layers.*.mlp.experts.gate_up_proj", moe_gate_up_colwise<tp>>,
        rule<"model.layers.*.mlp.experts.down_proj", moe_down_rowwise<tp>>,
        rule<"model.layers.1.mlp.gate", ep_router<tp_alias>>,
        rule<"model.layers.1.mlp.experts.gate_up_proj", grouped_gemm<tp_alias>>,
        rule<"model.layers.1.mlp.experts.down_proj", grouped_gemm<tp_alias>>,
        rule<"model.norm", replicated<tp>>,
        rule<"lm_head", colwise<tp>>>,
    activations<
        activation<"model.layers.*", on<data, Shard<0>>, on<tp, Invariant>>,
        activation<"model.layers.*.self_attn", on<data, Shard<0>>>,
        activation<"model.layers.*.mlp", on<data, Shard<0>>>,
        activation<"lm_head", on<data, Shard<0>>>>,
    everywhere<fsdp<data>>> {};
static_assert(covers<mixed_plan, mixtral>);
static_assert(std::is_same_v<style_t<mixed_plan, mixtral, row_of<mixtral>("model.layers.*.mlp.gate.weight"), 1>, ep_router<tp_alias>>);
static_assert(std::is_same_v<style_t<mixed_plan, mixtral, row_of<mixtral>("model.layers.*.mlp.gate.weight"), 0>, router<tp>>);

}  // namespace

TEST_CASE("packed rows equal the same sequences in rows of their own") {
  const batch two = oracle_batch();
  // One row of 20: the first 9 tokens of row 0, then the first 11 of row 1.
  batch packed = batch::of(1, 20, std::vector<std::int64_t>(20));
  batch apart = batch::of(2, 11, std::vector<std::int64_t>(22, 0));
  for (std::size_t i = 0; i < 20; ++i) {
    const std::size_t row = i < 9 ? 0 : 1, column = i < 9 ? i : i - 9, length = row == 0 ? 9 : 11;
    packed.ids[i] = two.ids[row * 20 + column];
    packed.positions[i] = static_cast<std::int32_t>(column);
    packed.segment_start[i] = row == 0 ? 0 : 9;
    packed.labels[i] = column + 1 < length ? two.ids[row * 20 + column + 1] : ignored_label;
    apart.ids[row * 11 + column] = packed.ids[i];
    apart.labels[row * 11 + column] = packed.labels[i];
  }
  for (std::size_t i = 9; i < 11; ++i) apart.valid[i] = 0, apart.labels[i] = ignored_label;
  apart.labels[8] = ignored_label;
  const outcome want = evaluate<mixtral_tp>(sizes(1, 1, 1), apart);
  check_close(evaluate<mixtral_tp>(sizes(1, 1, 1), packed), want, 2e-6);
  check_close(evaluate<mixtral_tp>(sizes(2, 1, 2), packed), want, 2e-6);
  check_close(evaluate<mixtral_sp_ep>(sizes(1, 1, 4), packed), want, 2e-6);
  check_close(evaluate<mixtral_sp_ep>(sizes(1, 2, 2), apart), want, 2e-6);
}

TEST_CASE("prefetching the next unit changes no bit, and live gathered bytes keep their bound") {
  for (const mesh_shape& m : {sizes(2, 1, 1), sizes(3, 1, 1), sizes(2, 2, 2), sizes(1, 2, 2)}) {
    const outcome with = evaluate<mixtral_sp_ep>(m, oracle_batch(), true), without = evaluate<mixtral_sp_ep>(m, oracle_batch(), false);
    CHECK(with.loss == without.loss);
    CHECK(with.norm == without.norm);
    CHECK(with.gradients == without.gradients);
    CHECK(with.gathered_peak <= with.gathered_bound);
    CHECK(without.gathered_peak <= with.gathered_peak);
    CHECK(with.gathered_peak > 0);
  }
}

TEST_CASE("after an EP + FSDP load every rank holds exactly its own experts, and the router chooses among all of them") {
  const io::model_config config = io::read_config(oracle_folder);
  const io::hf_folder folder(oracle_folder);
  const mesh_shape mesh = sizes(2, 1, 4);
  std::vector<std::int64_t> shape = {8, 48, 32};
  std::vector<float> whole(8 * 48 * 32);
  io::load_tensor(folder, "mixtral", {"model.layers.1.mlp.experts.gate_up_proj", shape}, dtype::f32, whole.data());
  std::mutex mutex;
  std::map<std::int64_t, int> held;  // expert -> how often
  run_ranks(mesh, test_backend(), [&](context& c) {
    parameter_store store;
    build_store(c, store, table_of<mixtral_tp_ep, mixtral>(), numbers_of(config));
    load_weights(c, store, folder, config);
    const parameter_slot& s = store.slot(row_of<mixtral>("model.layers.*.mlp.experts.gate_up_proj"), 1);
    CHECK(s.compute_local.extent[0] == 2);
    CHECK(s.storage_local.extent[0] == 1);  // two experts a tp rank, one of them on each FSDP rank
    for_each_box(s, [&](const std::int64_t* start, const std::int64_t* count, std::int64_t offset) {
      for (std::int64_t e = start[0]; e < start[0] + count[0]; ++e) {
        const float* ours = s.master.as<float>() + offset + (e - start[0]) * 48 * 32;
        bool same = true;
        for (std::int64_t i = 0; i < 48 * 32; ++i) same = same && ours[i] == whole[static_cast<std::size_t>(e * 48 * 32 + i)];
        CHECK(same);
        CHECK(e / 2 == c.coordinate[2]);
        std::lock_guard lock(mutex);
        ++held[e];
      }
    });
    decoder_model<mixtral_tp_ep, mixtral> model(config, store, {});
    step_options o;
    o.update = false;
    o.sparse_layers = 2;
    const step_result r = train_step(c, model, store, oracle_batch(), o);
    double chosen = 0;
    for (const double n : r.expert_choices) {
      CHECK(n > 0);
      chosen += n;
    }
    CHECK(r.expert_choices.size() == 8);
    CHECK(chosen == 2 * 40 * 2);  // top 2 of 40 tokens in 2 layers, each counted once
  });
  CHECK(held.size() == 8);
  for (const auto& [expert, times] : held) CHECK(times == 1);
}

TEST_CASE("a plan of one's own, with a layer ruled by its number, equals the built-in one") {
  const outcome want = evaluate<mixtral_tp>(sizes(1, 1, 1), oracle_batch());
  check_close(evaluate<mixed_plan>(sizes(1, 1, 4), oracle_batch()), want, 2e-6);
  check_close(evaluate<mixed_plan>(sizes(2, 1, 2), oracle_batch()), want, 2e-6);
  const family own = make_family<mixtral, mixed_plan, no_plan, no_plan, no_plan>();
  CHECK(choose_plan(own, false, ep_mode::none, training_dtype::f32).table() == &table_of<mixed_plan, mixtral>());
  for (const training_dtype type : {training_dtype::f32, training_dtype::bf16, training_dtype::bf16_states}) {
    const plan_choice& choice = choose_plan(own, false, ep_mode::none, type);
    CHECK(&table_of(choice, false) == choice.table());
    CHECK(table_of(choice, true).types.master == choice.table()->types.master);
    CHECK(table_of(choice, true).types.moment == choice.table()->types.moment);
  }
  CHECK(cheaper_ep_mode(own, false, sizes(1, 1, 8), 1) == ep_mode::gather);  // it has no other
  CHECK_THROWS_WITH_AS(choose_plan(own, true, ep_mode::gather, training_dtype::f32), doctest::Contains("mixtral"), plan_misfit);
  CHECK_THROWS_WITH_AS(choose_plan(own, true, ep_mode::none, training_dtype::f32), doctest::Contains("--sp"), plan_misfit);

  io::model_config one_layer = io::read_config(oracle_folder);
  one_layer.layers = 1;
  one_layer.sparse_layer.resize(1);
  context c;
  c.ops = &test_backend();
  c.mesh = sizes(1, 1, 1);
  parameter_store store;
  CHECK_THROWS_WITH_AS(build_store(c, store, table_of<mixed_plan, mixtral>(), numbers_of(one_layer)), doctest::Contains("plait[unused-rule]"), plan_misfit);
}

TEST_CASE("fewer key heads than ranks: whole keys and values, of which each rank takes what its queries need, equal one rank in float64") {
  const std::string two_keys = std::string(PLAIT_TEST_DATA) + "/oracles/mixtral_two_keys";
  const outcome four = evaluate<mixtral_tp_f64>(sizes(1, 1, 1), oracle_batch());
  const outcome two = evaluate<mixtral_tp_f64>(sizes(1, 1, 1), oracle_batch(), true, 0.02, two_keys);
  for (const mesh_shape& m : {sizes(1, 1, 1), sizes(1, 1, 2), sizes(1, 1, 8), sizes(2, 1, 4)}) {
    check_close(evaluate<mixtral_tp_repeated_f64>(m, oracle_batch()), four, 1e-12);
    check_close(evaluate<mixtral_tp_repeated_f64>(m, oracle_batch(), true, 0.02, two_keys), two, 1e-12);
    check_close(evaluate<mixtral_sp_repeated_f64>(m, oracle_batch()), four, 1e-12);
    check_close(evaluate<mixtral_sp_repeated_f64>(m, oracle_batch(), true, 0.02, two_keys), two, 1e-12);
  }
  CHECK_THROWS_WITH_AS(evaluate<mixtral_tp_f64>(sizes(1, 1, 4), oracle_batch(), true, 0.02, two_keys), doctest::Contains("plait[indivisible]"), plan_misfit);

  // The same decoder takes either table; which it was built from is asked of the store.
  const io::model_config config = io::read_config(two_keys);
  run_ranks(sizes(1, 1, 4), test_backend(), [&](context& c) {
    parameter_store store;
    build_store(c, store, table_of<repeated_heads_plan<mixtral_tp, mixtral>, mixtral>(), numbers_of(config));
    initialise_weights(c, store, 1, 0.1);
    step_options o;
    o.update = false;
    o.sparse_layers = 2;
    decoder_model<mixtral_tp, mixtral> right(config, store, {.repeat_heads = true}), wrong(config, store, {});
    CHECK(std::isfinite(train_step(c, right, store, oracle_batch(), o).loss));
    CHECK_THROWS_WITH_AS(train_step(c, wrong, store, oracle_batch(), o), doctest::Contains("another plan"), std::logic_error);
  });
}

TEST_CASE("the mode that sends no more bytes: k choices, n ranks of experts") {
  for (int n = 2; n <= 16; ++n)
    for (int k = 1; k <= 16; ++k) {
      CHECK(dispatch_sends_no_more(true, sizes(1, 1, n), k) == (k <= n));       // cut by sequence
      CHECK(dispatch_sends_no_more(false, sizes(2, n, 1), k) == (k <= n));      // over data ranks alone
      CHECK(dispatch_sends_no_more(false, sizes(3, 1, n), k) == (2 * k <= n));  // a stream that is whole over tp
    }
}

TEST_CASE("in float64 every plan equals one rank to rounding") {
  const outcome want = evaluate<mixtral_tp_f64>(sizes(1, 1, 1), oracle_batch());
  int cases = 0;
  for (const mesh_shape& m : {sizes(1, 1, 2), sizes(1, 1, 4), sizes(2, 1, 1), sizes(3, 1, 1), sizes(2, 1, 2), sizes(4, 1, 1), sizes(5, 1, 1)}) {
    check_close(evaluate<mixtral_tp_f64>(m, oracle_batch()), want, 1e-12);
    ++cases;
  }
  for (const mesh_shape& m : {sizes(1, 1, 2), sizes(1, 1, 4), sizes(1, 2, 1), sizes(1, 4, 1), sizes(2, 2, 1), sizes(1, 2, 2), sizes(2, 2, 2), sizes(3, 1, 2)}) {
    check_close(evaluate<mixtral_sp_ep_f64>(m, oracle_batch()), want, 1e-12);
    ++cases;
  }
  for (const mesh_shape& m : {sizes(1, 1, 2), sizes(1, 1, 4), sizes(1, 4, 1), sizes(2, 2, 1), sizes(1, 2, 2), sizes(2, 2, 2)}) {
    check_close(evaluate<mixtral_tp_dispatch_f64>(m, oracle_batch()), want, 1e-12);
    ++cases;
  }
  MESSAGE(cases << " of " << cases << " meshes agree");
}
