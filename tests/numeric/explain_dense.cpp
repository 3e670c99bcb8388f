// explain predicts every collective of a step of dense families.
#include "support/explain_compare.hpp"
#include "plait/model/llama.hpp"
#include "plait/model/qwen3.hpp"

using namespace plait;
using namespace plait::explain_tests;

TEST_CASE("llama and qwen3, tied or not: what explain predicts is what runs") {
  tally counted;
  for (const bool tied : {false, true}) {
    const io::model_config l = tiny("llama", {false, false}, tied), q = tiny("qwen3", {false, false}, tied);
    compare_all<llama_tp, llama>("tp", l, tp_meshes, counted);
    compare_all<llama_sp, llama>("sp", l, sp_meshes, counted);
    compare_all<qwen3_tp, qwen3>("tp", q, tp_meshes, counted);
    compare_all<qwen3_sp, qwen3>("sp", q, sp_meshes, counted);
  }
  MESSAGE(counted.plans << " plans, " << counted.runs << " runs, " << counted.collectives << " collectives");
}
