// explain predicts every collective of a step of families with experts: a shared expert beside them, q and k normalised over all heads.
#include "support/explain_compare.hpp"
#include "plait/model/deepseek_v3.hpp"
#include "plait/model/granitemoe.hpp"
#include "plait/model/hunyuan_v1_moe.hpp"
#include "plait/model/olmoe.hpp"
#include "plait/model/qwen2_moe.hpp"

using namespace plait;
using namespace plait::explain_tests;

namespace {

template <class Tp, class Sp, class TpEp, class SpEp, class Model>
void compare_plans(io::model_config m) {
  tally counted;
  m.shared_intermediate = 16;
  compare_all<Tp, Model>("tp", m, tp_meshes, counted);
  compare_all<Sp, Model>("sp", m, sp_meshes, counted);
  compare_all<TpEp, Model>("tp_ep", m, ep_meshes, counted);
  compare_all<SpEp, Model>("sp_ep", m, ep_meshes, counted);
  MESSAGE(counted.plans << " plans, " << counted.runs << " runs, " << counted.collectives << " collectives");
}

/// Forward and backward collectives of every layer, in the order all-gather, reduce-scatter, all-reduce.
template <class Plan, class Model>
void counts(io::model_config m, const mesh_shape& mesh, int gathers, int scatters, int reductions, int gathers_back) {
  m.shared_intermediate = 16;
  explain_options o;
  o.rows = 4, o.columns = 8;
  const explanation e = explain(table_of<Plan, Model>(), numbers_of(m), mesh, axis_names, o);
  for (const layer_traffic& l : e.layers) {
    CHECK(l.forward[static_cast<int>(collective_kind::all_gather)] == gathers);
    CHECK(l.forward[static_cast<int>(collective_kind::reduce_scatter)] == scatters);
    CHECK(l.forward[static_cast<int>(collective_kind::all_reduce)] == reductions);
    CHECK(l.backward[static_cast<int>(collective_kind::all_gather)] == gathers_back);
    CHECK(l.backward[static_cast<int>(collective_kind::reduce_scatter)] == scatters);
    CHECK(l.backward[static_cast<int>(collective_kind::all_reduce)] == reductions);
  }
}

}  // namespace

TEST_CASE("granitemoe: what explain predicts is what runs") {
  io::model_config m = tiny("granitemoe", {true, true}, false);
  m.attention_scale = 0.3, m.embedding_multiplier = 3, m.residual_multiplier = 0.5, m.logits_divisor = 2;
  compare_plans<mixtral_tp, mixtral_sp, mixtral_tp_ep, mixtral_sp_ep, granitemoe>(m);
}

TEST_CASE("four key heads on eight ranks: whole keys and values add no collective to a layer") {
  const io::model_config m = tiny("mixtral", {true, true}, false);
  tally counted;
  using tp_plan = repeated_heads_plan<mixtral_tp, mixtral>;
  using sp_plan = repeated_heads_plan<mixtral_sp, mixtral>;
  compare_all<tp_plan, mixtral>("tp, repeated heads", m, {ranks_in(1, 1, 8), ranks_in(2, 1, 4)}, counted);
  compare_all<sp_plan, mixtral>("sp, repeated heads", m, {ranks_in(1, 1, 8), ranks_in(2, 1, 2)}, counted);
  counts<tp_plan, mixtral>(m, ranks_in(1, 1, 8), 0, 0, 2, 0);
  counts<sp_plan, mixtral>(m, ranks_in(1, 1, 8), 2, 2, 0, 2);
}

TEST_CASE("qwen2_moe: the shared expert adds no collective") {
  const io::model_config m = tiny("qwen2_moe", {false, true}, false);
  compare_plans<qwen2_moe_tp, qwen2_moe_sp, qwen2_moe_tp_ep, qwen2_moe_sp_ep, qwen2_moe>(m);
  for (const mesh_shape& mesh : {ranks_in(1, 1, 2), ranks_in(2, 1, 2)}) {
    counts<qwen2_moe_tp, qwen2_moe>(m, mesh, 0, 0, 2, 0);
    counts<qwen2_moe_tp_ep, qwen2_moe>(m, mesh, 0, 0, 2, 0);
    counts<qwen2_moe_sp, qwen2_moe>(m, mesh, 2, 2, 0, 2);
    counts<qwen2_moe_sp_ep, qwen2_moe>(m, mesh, 2, 2, 0, 2);
  }
}

TEST_CASE("hunyuan_v1_moe: the shared expert adds no collective") {
  const io::model_config m = tiny("hunyuan_v1_moe", {true, true}, true);
  compare_plans<hunyuan_v1_moe_tp, hunyuan_v1_moe_sp, hunyuan_v1_moe_tp_ep, hunyuan_v1_moe_sp_ep, hunyuan_v1_moe>(m);
  counts<hunyuan_v1_moe_tp_ep, hunyuan_v1_moe>(m, ranks_in(1, 1, 2), 0, 0, 2, 0);
  counts<hunyuan_v1_moe_sp_ep, hunyuan_v1_moe>(m, ranks_in(1, 1, 2), 2, 2, 0, 2);
}

TEST_CASE("olmoe: q and k are gathered for their norm and cut again, which costs two all-gathers each way") {
  const io::model_config m = tiny("olmoe", {true, true}, false);
  compare_plans<olmoe_tp, olmoe_sp, olmoe_tp_ep, olmoe_sp_ep, olmoe>(m);
  counts<olmoe_tp, olmoe>(m, ranks_in(1, 1, 2), 2, 0, 2, 2);
  counts<olmoe_sp, olmoe>(m, ranks_in(1, 1, 2), 4, 2, 0, 4);
}

TEST_CASE("deepseek_v2: latents on every rank add no collective, whether the queries have one or not") {
  io::model_config m = tiny("deepseek_v2", {false, true}, false);
  m.kv_heads = 8;
  m.head_dim = 6, m.rotary_width = 2, m.value_head = 3, m.latent_rank = 5, m.latent_epsilon = 1e-6, m.rotary_pairs = true;
  m.router.groups = 2;
  for (const bool low_rank : {false, true}) {
    m.query_rank = low_rank ? 7 : 0;
    m.attention_bias = m.tied = low_rank;
    compare_plans<deepseek_v2_tp, deepseek_v2_sp, deepseek_v2_tp_ep, deepseek_v2_sp_ep, deepseek_v2>(m);
    counts<deepseek_v2_tp, deepseek_v2>(m, ranks_in(1, 1, 2), 0, 0, 2, 0);
    counts<deepseek_v2_sp_ep, deepseek_v2>(m, ranks_in(2, 1, 2), 2, 2, 0, 2);
  }
}

TEST_CASE("deepseek_v3: the correction of the choice, which is not trained, is neither gathered nor reduced") {
  io::model_config m = tiny("deepseek_v3", {false, true}, false);
  m.kv_heads = 8;
  m.head_dim = 6, m.rotary_width = 2, m.value_head = 3, m.latent_rank = 5, m.latent_epsilon = 1e-6, m.query_rank = 7, m.shared_intermediate = 16;
  m.router.scoring = router_scoring::sigmoid, m.router.groups = 2, m.router.worth = group_worth::two_best, m.choice_correction = 1;
  tally counted;
  compare_all<deepseek_v2_sp_ep, deepseek_v3>("sp_ep", m, ep_meshes, counted);
}
