// explain predicts every collective of a step: compared with what really started, on every rank, under every plan.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "plait/comm/rank_threads.hpp"
#include "support/cpu_backend.hpp"
#include "support/small.hpp"
#include "plait/io/implementation.hpp"
#include "plait/model/decoder_model.hpp"
#include "plait/model/mixtral.hpp"
#include "plait/model/qwen3_moe.hpp"
#include "plait/train/explain.hpp"
#include "plait/train/load.hpp"

using namespace plait;

namespace {

const std::vector<std::string> axis_names{"fsdp_outer", "fsdp_inner", "tp"};

io::model_config tiny(const std::string& family, std::vector<bool> sparse, bool tied) {
  io::model_config m;
  m.family = family;
  m.vocabulary = 24;
  m.hidden = 16;
  m.layers = static_cast<std::int64_t>(sparse.size());
  m.heads = 8;
  m.kv_heads = 4;
  m.head_dim = 4;
  m.dense_intermediate = 16;
  m.expert_intermediate = 8;
  m.experts = 4;
  m.top_k = 2;
  m.rms_epsilon = 1e-5;
  m.rope_theta = 1e4;
  m.aux_coefficient = 0.02;
  m.tied = tied;
  m.sparse_layer = std::move(sparse);
  return m;
}

mesh_shape ranks_in(int outer, int inner, int tp_size) {
  mesh_shape s;
  s.atoms = 3;
  s.size[0] = outer;
  s.size[1] = inner;
  s.size[2] = tp_size;
  return s;
}

batch tokens(std::int64_t rows, std::int64_t columns) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(rows * columns));
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>((7 * i + 3) % 24);
  return batch::of(rows, columns, std::move(ids));
}

using row = std::tuple<std::string, int, int, std::uint32_t, int, std::int64_t, bool>;

std::vector<row> rows_of(const std::vector<collective_record>& records) {
  std::vector<row> rows;
  for (const collective_record& r : records)
    rows.emplace_back(r.where, r.layer, static_cast<int>(r.kind), r.mask, r.ranks, r.payload, r.backward);
  return rows;
}
std::vector<row> rows_of(const explanation& e) {
  std::vector<row> rows;
  for (const explained_collective& r : e.collectives)
    rows.emplace_back(r.where, r.layer, static_cast<int>(r.kind), r.mask, r.ranks, r.payload, r.backward);
  return rows;
}
std::vector<row> sorted(std::vector<row> rows) {
  std::sort(rows.begin(), rows.end());
  return rows;
}
std::string text(const row& r) {
  return std::get<0>(r) + " layer " + std::to_string(std::get<1>(r)) + " " + name_of(static_cast<collective_kind>(std::get<2>(r))) + " mask " +
         std::to_string(std::get<3>(r)) + " payload " + std::to_string(std::get<5>(r)) + (std::get<6>(r) ? " backward" : " forward");
}
/// Empty if equal; else the first few rows that only one side has.
std::string difference(const std::vector<row>& ran, const std::vector<row>& predicted) {
  const std::vector<row> a = sorted(ran), b = sorted(predicted);
  std::vector<row> only_ran, only_predicted;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(only_ran));
  std::set_difference(b.begin(), b.end(), a.begin(), a.end(), std::back_inserter(only_predicted));
  std::string out;
  for (std::size_t i = 0; i < only_ran.size() && i < 4; ++i) out += "\n  ran only: " + text(only_ran[i]);
  for (std::size_t i = 0; i < only_predicted.size() && i < 4; ++i) out += "\n  predicted only: " + text(only_predicted[i]);
  return out;
}

struct setting {
  std::int64_t rows = 3, columns = 19, accumulation = 1;
  recomputation recompute = recomputation::none;
  bool balance = true, logits = false, prefetch = true;
};
constexpr setting settings[] = {
    {3, 19, 1, recomputation::none, true},    {3, 19, 1, recomputation::none, false},    {3, 19, 2, recomputation::none, true},
    {3, 19, 2, recomputation::none, false},   {3, 19, 1, recomputation::layer, true},    {3, 19, 1, recomputation::layer, false},
    {3, 19, 2, recomputation::layer, true},   {3, 19, 2, recomputation::layer, false},   {3, 19, 1, recomputation::experts, true},
    {3, 19, 1, recomputation::experts, false}, {3, 19, 2, recomputation::experts, true}, {3, 19, 2, recomputation::experts, false},
    {4, 8, 1, recomputation::none, true},     {4, 8, 2, recomputation::layer, true},     {1, 5, 2, recomputation::none, true},
    {3, 19, 2, recomputation::none, true, true}, {3, 19, 1, recomputation::none, true, false, false},
};

struct tally {
  int plans = 0, runs = 0, collectives = 0;
};

template <class Plan, class Model>
void compare(const io::model_config& config, const mesh_shape& mesh, const setting& s, tally& counted) {
  const model_numbers numbers = numbers_of(config);
  const int ranks = mesh.ranks();
  const batch input = tokens(s.rows, s.columns);
  std::vector<std::vector<collective_record>> ran(static_cast<std::size_t>(ranks));
  std::vector<explained_memory> memory(static_cast<std::size_t>(ranks));
  std::vector<std::int64_t> peak(static_cast<std::size_t>(ranks));
  run_ranks(mesh, test_backend(), [&](context& c) {
    const std::size_t rank = static_cast<std::size_t>(c.rank);
    parameter_store store;
    store.prefetch = s.prefetch;
    build_store(c, store, table_of<Plan, Model>(), numbers);
    initialise_weights(c, store, 1, 0.1);
    decoder_model<Plan, Model> model(config, store, {s.recompute});
    step_options o;
    o.accumulation = s.accumulation;
    o.aux_coefficient = s.balance ? config.aux_coefficient : 0.0;
    for (const bool sparse : config.sparse_layer) o.sparse_layers += sparse;
    c.records = &ran[rank];
    train_step(c, model, store, input, o, s.logits);
    c.records = nullptr;
    for (const parameter_slot& p : store.slots) {
      memory[rank].parameters += static_cast<std::int64_t>(p.memory[0]->bytes());
      memory[rank].moments += static_cast<std::int64_t>(p.memory[1]->bytes() + p.memory[2]->bytes());
      memory[rank].gradients += static_cast<std::int64_t>(p.memory[3]->bytes());
    }
    memory[rank].gathered = store.gathered_bound();
    peak[rank] = store.peak_gathered_bytes();
  });
  explain_options o;
  o.rows = s.rows;
  o.columns = s.columns;
  o.accumulation = s.accumulation;
  o.recompute = s.recompute;
  o.balance_weighs = s.balance;
  o.logits = s.logits;
  o.prefetch = s.prefetch;
  for (int r = 0; r < ranks; ++r) {
    const std::size_t rank = static_cast<std::size_t>(r);
    CAPTURE(r);
    const explanation e = explain(table_of<Plan, Model>(), numbers, mesh, axis_names, o, r);
    const std::vector<row> predicted = rows_of(e), real = rows_of(ran[rank]);
    const std::string wrong = difference(real, predicted);
    CHECK_MESSAGE(wrong.empty(), wrong);
    CHECK_MESSAGE(real == predicted, "the order differs");
    CHECK(e.memory.parameters == memory[rank].parameters);
    CHECK(e.memory.gradients == memory[rank].gradients);
    CHECK(e.memory.moments == memory[rank].moments);
    CHECK(e.memory.gathered == memory[rank].gathered);
    CHECK(peak[rank] <= e.memory.gathered);
    std::int64_t times = 0;
    for (const explained_group& g : grouped(e.collectives)) times += g.times;
    CHECK(times == static_cast<std::int64_t>(real.size()));
    counted.collectives += static_cast<int>(real.size());
  }
  ++counted.runs;
}

template <class Plan, class Model>
void compare_all(const char* plan, const io::model_config& config, std::vector<mesh_shape> meshes, tally& counted) {
  for (const mesh_shape& mesh : meshes) {
    std::size_t number = 0;
    for (const setting& s : settings) {
      if (small_tests() && (number++ + static_cast<std::size_t>(counted.plans)) % 5 != 0) continue;  // meshes take turns
      INFO(config.family << std::string(config.tied ? " tied " : " ") << std::string(plan) << " mesh " << mesh.size[0] << "," << mesh.size[1] << "," << mesh.size[2]
                         << " B " << s.rows << " S " << s.columns << " accumulation " << s.accumulation << " recompute "
                         << static_cast<int>(s.recompute) << " balance " << s.balance);
      compare<Plan, Model>(config, mesh, s, counted);
    }
    ++counted.plans;
  }
}

const std::vector<mesh_shape> tp_meshes{ranks_in(1, 1, 1), ranks_in(1, 1, 2), ranks_in(1, 1, 4), ranks_in(2, 1, 1), ranks_in(3, 1, 1),
                                        ranks_in(4, 1, 1), ranks_in(2, 2, 1), ranks_in(2, 1, 2)};
const std::vector<mesh_shape> sp_meshes{ranks_in(1, 1, 2), ranks_in(1, 1, 4), ranks_in(2, 1, 2)};
const std::vector<mesh_shape> ep_meshes{ranks_in(1, 1, 2), ranks_in(1, 1, 4), ranks_in(2, 1, 2), ranks_in(1, 4, 1),
                                        ranks_in(2, 2, 1), ranks_in(1, 2, 2), ranks_in(2, 2, 2)};

struct mixtral_sp_ep_bf16 : with_precision<mixtral_sp_ep, bfloat16_precision> {};

/// Layer 0's attention whole on every rank: a rule of its own beats the one for all layers. Its logits are gathered.
struct mixtral_own : plan<training_mesh,
    parameters<
        rule<"model.embed_tokens", vocabulary<tp>>,
        rule<"model.layers.*.input_layernorm", replicated<tp>>,
        rule<"model.layers.0.self_attn.q_proj", replicated<tp>>,
        rule<"model.layers.0.self_attn.k_proj", replicated<tp>>,
        rule<"model.layers.0.self_attn.v_proj", replicated<tp>>,
        rule<"model.layers.0.self_attn.o_proj", replicated<tp>>,
        rule<"model.layers.*.self_attn.q_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.k_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.v_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.o_proj", rowwise<tp>>,
        rule<"model.layers.*.post_attention_layernorm", replicated<tp>>,
        rule<"model.layers.*.mlp.gate", router<tp>>,
        rule<"model.layers.*.mlp.experts.gate_up_proj", moe_gate_up_colwise<tp>>,
        rule<"model.layers.*.mlp.experts.down_proj", moe_down_rowwise<tp>>,
        rule<"model.norm", replicated<tp>>,
        rule<"lm_head", colwise_gather_output<tp>>>,
    activations<
        activation<"model.layers.*", on<data, Shard<0>>, on<tp, Invariant>>,
        activation<"model.layers.0.self_attn", on<data, Shard<0>>, on<tp, Invariant>>,
        activation<"model.layers.*.self_attn", on<data, Shard<0>>>,
        activation<"model.layers.*.mlp", on<data, Shard<0>>>,
        activation<"lm_head", on<data, Shard<0>>>>,
    everywhere<fsdp<data>>> {};

/// Counts of a layer, in the order all-gather, reduce-scatter, all-reduce, all-to-all.
bool counts(const int* found, int gathers, int scatters, int reductions) {
  return found[static_cast<int>(collective_kind::all_gather)] == gathers && found[static_cast<int>(collective_kind::reduce_scatter)] == scatters &&
         found[static_cast<int>(collective_kind::all_reduce)] == reductions && found[static_cast<int>(collective_kind::all_to_all)] == 0;
}

template <class Plan, class Model>
explanation explained(const io::model_config& config, const mesh_shape& mesh, explain_options o = {}) {
  if (o.rows == 1) o.rows = 4, o.columns = 8;
  return explain(table_of<Plan, Model>(), numbers_of(config), mesh, axis_names, o);
}

}  // namespace

TEST_CASE("mixtral: what explain predicts is what runs") {
  tally counted;
  const io::model_config m = tiny("mixtral", {true, true}, false);
  compare_all<mixtral_tp, mixtral>("tp", m, tp_meshes, counted);
  compare_all<mixtral_sp, mixtral>("sp", m, sp_meshes, counted);
  compare_all<mixtral_tp_ep, mixtral>("tp_ep", m, ep_meshes, counted);
  compare_all<mixtral_sp_ep, mixtral>("sp_ep", m, ep_meshes, counted);
  MESSAGE(counted.plans << " plans, " << counted.runs << " runs, " << counted.collectives << " collectives");
}

TEST_CASE("qwen3_moe, a dense and a sparse layer, tied or not: what explain predicts is what runs") {
  tally counted;
  for (const bool tied : {false, true}) {
    const io::model_config m = tiny("qwen3_moe", {false, true}, tied);
    compare_all<qwen3_moe_tp, qwen3_moe>("tp", m, tp_meshes, counted);
    compare_all<qwen3_moe_sp, qwen3_moe>("sp", m, sp_meshes, counted);
    compare_all<qwen3_moe_tp_ep, qwen3_moe>("tp_ep", m, ep_meshes, counted);
    compare_all<qwen3_moe_sp_ep, qwen3_moe>("sp_ep", m, ep_meshes, counted);
  }
  MESSAGE(counted.plans << " plans, " << counted.runs << " runs, " << counted.collectives << " collectives");
}

TEST_CASE("bf16, and a plan of one's own with a numbered layer") {
  tally counted;
  const io::model_config m = tiny("mixtral", {true, true}, false);
  compare_all<mixtral_sp_ep_bf16, mixtral>("sp_ep bf16", m, ep_meshes, counted);
  compare_all<mixtral_own, mixtral>("own", m, {ranks_in(1, 1, 2), ranks_in(2, 1, 2)}, counted);
  const explanation e = explained<mixtral_own, mixtral>(m, ranks_in(1, 1, 2));
  CHECK(counts(e.layers[0].forward, 0, 0, 1));
  CHECK(counts(e.layers[0].backward, 0, 0, 1));
  CHECK(counts(e.layers[1].forward, 0, 0, 2));
}

TEST_CASE("without a backward: what explain predicts is what runs") {
  const io::model_config m = tiny("qwen3_moe", {false, true}, true);
  const mesh_shape mesh = ranks_in(2, 1, 2);
  const batch input = tokens(3, 19);
  for (const bool with_loss : {false, true}) {
    std::vector<std::vector<collective_record>> ran(4);
    run_ranks(mesh, test_backend(), [&](context& c) {
      parameter_store store;
      build_store(c, store, table_of<qwen3_moe_sp_ep, qwen3_moe>(), numbers_of(m));
      initialise_weights(c, store, 1, 0.1);
      decoder_model<qwen3_moe_sp_ep, qwen3_moe> model(m, store, {});
      c.records = &ran[static_cast<std::size_t>(c.rank)];
      const loss_scale scale;
      model.run(c, input, with_loss ? &scale : nullptr, false, true);
    });
    explain_options o;
    o.rows = 3;
    o.columns = 19;
    o.train = false;
    o.loss = with_loss;
    o.logits = true;
    for (int r = 0; r < 4; ++r) {
      const explanation e = explain(table_of<qwen3_moe_sp_ep, qwen3_moe>(), numbers_of(m), mesh, axis_names, o, r);
      const std::string wrong = difference(rows_of(ran[static_cast<std::size_t>(r)]), rows_of(e));
      CHECK_MESSAGE(wrong.empty(), wrong);
    }
  }
}

TEST_CASE("a layer's activations: TP 2 all-reduces each way, SP 2 all-gathers and 2 reduce-scatters each way") {
  const io::model_config sparse = tiny("mixtral", {true, true}, false), mixed = tiny("qwen3_moe", {false, true}, false);
  const auto all = [](const explanation& e, int gathers, int scatters, int reductions) {
    for (const layer_traffic& l : e.layers) {
      CHECK(counts(l.forward, gathers, scatters, reductions));
      CHECK(counts(l.backward, gathers, scatters, reductions));
      CHECK(counts(l.recomputed, 0, 0, 0));
    }
  };
  for (const mesh_shape& mesh : {ranks_in(1, 1, 2), ranks_in(1, 1, 4), ranks_in(2, 1, 2)}) {
    all(explained<mixtral_tp, mixtral>(sparse, mesh), 0, 0, 2);
    all(explained<mixtral_tp_ep, mixtral>(sparse, mesh), 0, 0, 2);
    all(explained<qwen3_moe_tp, qwen3_moe>(mixed, mesh), 0, 0, 2);
    all(explained<qwen3_moe_tp_ep, qwen3_moe>(mixed, mesh), 0, 0, 2);
    all(explained<mixtral_sp, mixtral>(sparse, mesh), 2, 2, 0);
    all(explained<mixtral_sp_ep, mixtral>(sparse, mesh), 2, 2, 0);
    all(explained<qwen3_moe_sp, qwen3_moe>(mixed, mesh), 2, 2, 0);
    all(explained<qwen3_moe_sp_ep, qwen3_moe>(mixed, mesh), 2, 2, 0);
  }
  // FSDP and one rank: none. Experts over the data ranks: the tokens are gathered, the result is scattered.
  for (const mesh_shape& mesh : {ranks_in(1, 1, 1), ranks_in(2, 1, 1), ranks_in(3, 1, 1), ranks_in(4, 1, 1)}) all(explained<mixtral_tp, mixtral>(sparse, mesh), 0, 0, 0);
  for (const mesh_shape& mesh : {ranks_in(1, 4, 1), ranks_in(2, 2, 1)}) all(explained<mixtral_tp_ep, mixtral>(sparse, mesh), 1, 1, 0);
  // Accumulation changes nothing per slice; recomputation repeats the forward ones inside.
  explain_options o;
  o.rows = 4;
  o.columns = 8;
  o.accumulation = 2;
  o.recompute = recomputation::layer;
  const explanation e = explained<mixtral_sp, mixtral>(sparse, ranks_in(1, 1, 2), o);
  CHECK(e.slices == 2);
  for (const layer_traffic& l : e.layers) {
    CHECK(counts(l.forward, 2, 2, 0));
    CHECK(counts(l.backward, 2, 2, 0));
    CHECK(counts(l.recomputed, 2, 2, 0));
  }
}

TEST_CASE("parameters: layouts as text, shapes and bytes of a rank") {
  const explanation e = explained<mixtral_sp_ep, mixtral>(tiny("mixtral", {true, true}, false), ranks_in(2, 2, 2));
  const auto find = [&](const std::string& name) {
    for (const explained_parameter& p : e.parameters)
      if (p.name == name) return p;
    FAIL("no parameter " << name);
    return explained_parameter{};
  };
  const explained_parameter q = find("model.layers.1.self_attn.q_proj.weight");
  CHECK(q.layer == 1);
  CHECK(q.unit == "layer");
  CHECK(q.compute == "tp: Shard<0>");
  CHECK(q.storage == "tp: Shard<0>; fsdp_outer, fsdp_inner: Shard<0>");
  CHECK(q.global == std::vector<std::int64_t>{32, 16});
  CHECK(q.compute_local == std::vector<std::int64_t>{16, 16});
  CHECK(q.storage_local == std::vector<std::int64_t>{4, 16});
  CHECK(q.compute_bytes == 1024);
  CHECK(q.storage_bytes == 256);
  CHECK(q.optimizer_bytes == 512);
  const explained_parameter up = find("model.layers.0.mlp.experts.gate_up_proj");
  CHECK(up.compute == "fsdp_inner, tp: Shard<0>");
  CHECK(up.storage == "fsdp_inner, tp: Shard<0>; fsdp_outer: Shard<0>");
  CHECK(up.compute_local == std::vector<std::int64_t>{1, 16, 16});
  CHECK(find("model.norm.weight").compute == "Replicate");
  const explanation tp_only = explained<mixtral_tp, mixtral>(tiny("mixtral", {true, true}, false), ranks_in(1, 1, 2));
  CHECK(tp_only.parameters.back().compute.find("StridedShard") == std::string::npos);
  for (const explained_parameter& p : tp_only.parameters)
    if (p.name == "model.layers.0.mlp.experts.gate_up_proj") {
      CHECK(p.compute == "tp: StridedShard<1, 2>");
      CHECK(p.compute_local == std::vector<std::int64_t>{4, 8, 16});
    }
}

TEST_CASE("the ring cost of each kind") {
  explain_options o;
  o.rows = 4;
  o.columns = 8;
  const io::model_config m = tiny("mixtral", {true, true}, false);
  const std::int64_t stream = 4 * 8 * 16 * 4;  // bytes of [B, S, H]
  const auto first = [](const explanation& e, collective_kind kind) {
    for (const explained_collective& x : e.collectives)
      if (x.part == traffic::layer && x.kind == kind) return x;
    FAIL("none of this kind");
    return explained_collective{};
  };
  const explained_collective reduction = first(explained<mixtral_tp, mixtral>(m, ranks_in(1, 1, 4), o), collective_kind::all_reduce);
  CHECK(reduction.payload == stream);
  CHECK(reduction.ring == 2 * stream * 3 / 4);
  CHECK(reduction.axes == "tp");
  const explanation sp = explained<mixtral_sp, mixtral>(m, ranks_in(1, 1, 4), o);
  const explained_collective gather = first(sp, collective_kind::all_gather), scatter = first(sp, collective_kind::reduce_scatter);
  CHECK(gather.payload == stream / 4);
  CHECK(gather.ring == stream * 3 / 4);
  CHECK(scatter.payload == stream);
  CHECK(scatter.ring == stream * 3 / 4);
}

TEST_CASE("a plan that does not fit is refused with the sentence that loading gives") {
  io::model_config m = tiny("mixtral", {true, true}, false);
  CHECK_THROWS_AS((explained<mixtral_tp, mixtral>(m, ranks_in(1, 1, 3))), plan_misfit);
  m.sparse_layer.clear();
  m.layers = 0;
  CHECK_THROWS_AS((explained<mixtral_own, mixtral>(m, ranks_in(1, 1, 2))), plan_misfit);
  explain_options o;
  o.rows = 0;
  m = tiny("mixtral", {true}, false);
  CHECK_THROWS_AS((explain(table_of<mixtral_tp, mixtral>(), numbers_of(m), ranks_in(1, 1, 1), axis_names, o)), std::invalid_argument);
}
