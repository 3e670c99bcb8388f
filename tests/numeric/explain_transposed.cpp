// Families whose experts lie as [E, in, out]: what explain predicts is what runs. Biases of experts, sinks and chunks cost no collective.
#include "../support/explain_compare.hpp"

#include "plait/model/gpt_oss.hpp"
#include "plait/model/llama4_text.hpp"

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
}  // namespace

TEST_CASE("gpt_oss: what explain predicts is what runs") {
  io::model_config m = tiny("gpt_oss", {true, true}, false);
  m.attention_bias = true, m.window = 4, m.local_layer = {true, false};
  m.gate = {.interleaved = true, .alpha = 1.702, .offset = 1, .limit = 7};
  compare_plans<gpt_oss_tp, gpt_oss_sp, gpt_oss_tp_ep, gpt_oss_sp_ep, gpt_oss>(m);
}

TEST_CASE("llama4_text: what explain predicts is what runs") {
  io::model_config m = tiny("llama4_text", {false, true}, false);
  m.shared_intermediate = 8, m.chunk = 5, m.local_layer = {true, false}, m.unrotated_layer = {false, true};
  m.temperature_scale = 0.1, m.temperature_floor = 4;
  m.rotary_pairs = m.rotated_norm = m.weighs_inputs = true;
  compare_plans<llama4_text_tp, llama4_text_sp, llama4_text_tp_ep, llama4_text_sp_ep, llama4_text>(m);
}
