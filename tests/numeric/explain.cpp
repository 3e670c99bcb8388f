// explain predicts every collective of a step: compared with what really started, on every rank, under every plan.
#include "support/explain_compare.hpp"
#include "plait/model/mixtral.hpp"
#include "plait/model/qwen3_moe.hpp"

using namespace plait;
using namespace plait::explain_tests;

namespace {

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

TEST_CASE("more data ranks than experts: what explain predicts is what runs") {
  tally counted;
  const io::model_config m = tiny("mixtral", {true, true}, false);
  compare_all<mixtral_tp, mixtral>("tp", m, {ranks_in(8, 1, 1), ranks_in(3, 1, 2)}, counted);
  compare_all<mixtral_sp_ep, mixtral>("sp_ep", m, {ranks_in(4, 2, 1), ranks_in(3, 1, 2)}, counted);
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
  CHECK(up.storage == "fsdp_inner, tp: Shard<0>; fsdp_outer: Shard<1>");  // two ranks share out one expert
  CHECK(up.compute_local == std::vector<std::int64_t>{1, 16, 16});
  CHECK(up.storage_local == std::vector<std::int64_t>{1, 8, 16});
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
