// explain predicts every collective of a step of families whose routers score otherwise than by softmax or correct the choice. A correction is
// no parameter that is gathered or reduced; biases and LayerNorm add no collective.
#include "support/explain_compare.hpp"
#include "plait/model/ernie4_5_moe.hpp"
#include "plait/model/glm4_moe.hpp"
#include "plait/model/minimax_m2.hpp"
#include "plait/model/phimoe.hpp"

using namespace plait;
using namespace plait::explain_tests;

namespace {

template <class Tp, class Sp, class TpEp, class SpEp, class Model>
void compare_plans(const io::model_config& m) {
  tally counted;
  compare_all<Tp, Model>("tp", m, tp_meshes, counted);
  compare_all<Sp, Model>("sp", m, sp_meshes, counted);
  compare_all<TpEp, Model>("tp_ep", m, ep_meshes, counted);
  compare_all<SpEp, Model>("sp_ep", m, ep_meshes, counted);
  MESSAGE(counted.plans << " plans, " << counted.runs << " runs, " << counted.collectives << " collectives");
}

explanation explained(const plan_table& table, const io::model_config& m, const mesh_shape& mesh) {
  explain_options o;
  o.rows = 4, o.columns = 8;
  return explain(table, numbers_of(m), mesh, axis_names, o);
}

/// The correction of the choice: whole everywhere, float32, without gradient and moments.
void corrections(const explanation& e, std::size_t wanted) {
  std::size_t found = 0;
  for (const explained_parameter& p : e.parameters) {
    if (p.name.find("e_score_correction_bias") == std::string::npos) continue;
    ++found;
    CHECK(p.storage_local == p.global);
    CHECK(p.compute_type == dtype::f32);
    CHECK(p.gradient_bytes + p.optimizer_bytes == 0);
  }
  CHECK(found == wanted);
}

}  // namespace

TEST_CASE("glm4_moe: what explain predicts is what runs") {
  io::model_config m = tiny("glm4_moe", {false, true}, false);
  m.shared_intermediate = 16;
  m.choice_correction = 1;
  m.rotary_width = 2;
  m.router = {.scoring = router_scoring::sigmoid, .normalise = true, .epsilon = 1e-20, .factor = 2.5, .groups = 2, .kept_groups = 1, .worth = group_worth::two_best};
  for (const bool parts : {false, true}) {
    m.query_key_norm = m.query_key_value_bias = parts;
    compare_plans<glm4_moe_tp, glm4_moe_sp, glm4_moe_tp_ep, glm4_moe_sp_ep, glm4_moe>(m);
  }
  corrections(explained(table_of<glm4_moe_sp_ep, glm4_moe>(), m, ranks_in(2, 1, 2)), 1);
  corrections(explained(table_of<with_precision<glm4_moe_tp, bfloat16_precision>, glm4_moe>(), m, ranks_in(2, 1, 2)), 1);
}

TEST_CASE("minimax_m2: what explain predicts is what runs") {
  io::model_config m = tiny("minimax_m2", {true, true}, true);
  m.choice_correction = 1;
  m.router = {.scoring = router_scoring::sigmoid, .normalise = true};
  m.output_router_logits = true;
  compare_plans<minimax_m2_tp, minimax_m2_sp, minimax_m2_tp_ep, minimax_m2_sp_ep, minimax_m2>(m);
  corrections(explained(table_of<minimax_m2_tp_ep, minimax_m2>(), m, ranks_in(2, 1, 2)), 2);
}

TEST_CASE("phimoe: what explain predicts is what runs") {
  io::model_config m = tiny("phimoe", {true, true}, false);
  m.layer_norm = true;
  m.router = {.scoring = router_scoring::sparsemixer, .nearness = 0.5};
  for (const bool biases : {false, true}) {
    m.attention_bias = m.head_bias = biases;
    compare_plans<mixtral_tp, mixtral_sp, mixtral_tp_ep, mixtral_sp_ep, phimoe>(m);
  }
}

TEST_CASE("ernie4_5_moe: what explain predicts is what runs") {
  io::model_config m = tiny("ernie4_5_moe", {false, true}, true);
  m.choice_correction = 2;
  m.rotary_pairs = true;
  m.router = {.normalise = true, .smallest_sum = 1e-12};
  for (const bool parts : {false, true}) {
    m.shared_intermediate = parts ? 16 : 0;
    m.attention_bias = m.mlp_bias = m.head_bias = parts;
    compare_plans<ernie4_5_moe_tp, ernie4_5_moe_sp, ernie4_5_moe_tp_ep, ernie4_5_moe_sp_ep, ernie4_5_moe>(m);
  }
  corrections(explained(table_of<ernie4_5_moe_sp, ernie4_5_moe>(), m, ranks_in(2, 1, 2)), 1);
}
