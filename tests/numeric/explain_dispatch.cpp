// explain predicts every collective of a step whose tokens are sent to their experts; what the routing decides is put in from the run.
#include "support/explain_compare.hpp"
#include "plait/model/dispatch_plan.hpp"
#include "plait/model/qwen2_moe.hpp"

using namespace plait;
using namespace plait::explain_tests;

namespace {

using tp_plan = with_dispatch<mixtral_tp_ep, mixtral>;
using sp_plan = with_dispatch<mixtral_sp_ep, mixtral>;

int of(const int* found, collective_kind kind) { return found[static_cast<int>(kind)]; }

}  // namespace

TEST_CASE("mixtral with tokens sent: what explain predicts is what runs") {
  tally counted;
  const io::model_config m = tiny("mixtral", {true, true}, false);
  compare_all<tp_plan, mixtral>("tp_ep dispatch", m, ep_meshes, counted);
  compare_all<sp_plan, mixtral>("sp_ep dispatch", m, ep_meshes, counted);
  MESSAGE(counted.plans << " plans, " << counted.runs << " runs, " << counted.collectives << " collectives");
}

TEST_CASE("qwen2_moe with tokens sent: dense layers between, a shared expert with a gate") {
  tally counted;
  io::model_config m = tiny("qwen2_moe", {false, true}, false);
  m.shared_intermediate = 16;
  compare_all<with_dispatch<qwen2_moe_tp_ep, qwen2_moe>, qwen2_moe>("tp_ep dispatch", m, ep_meshes, counted);
  compare_all<with_dispatch<qwen2_moe_sp_ep, qwen2_moe>, qwen2_moe>("sp_ep dispatch", m, ep_meshes, counted);
}

TEST_CASE("a layer whose tokens are sent gathers nothing: three all-to-alls forward, two backward") {
  const io::model_config m = tiny("mixtral", {true, true}, false);
  explain_options o;
  o.rows = 4, o.columns = 8;
  using k = collective_kind;
  const explanation sp = explain(table_of<sp_plan, mixtral>(), numbers_of(m), ranks_in(1, 1, 4), axis_names, o);
  for (const layer_traffic& l : sp.layers) {
    CHECK(of(l.forward, k::all_to_all) == 3);
    CHECK(of(l.backward, k::all_to_all) == 2);
    CHECK(of(l.forward, k::all_gather) == 1);  // attention's
    CHECK(of(l.forward, k::reduce_scatter) == 1);
    CHECK(of(l.backward, k::all_gather) == 1);
    CHECK(of(l.backward, k::reduce_scatter) == 1);
    CHECK(of(l.forward, k::all_reduce) + of(l.backward, k::all_reduce) == 0);
  }
  // Replicated over tp: the slice is free, the way back is an all-gather; backward the other way round.
  const explanation whole = explain(table_of<tp_plan, mixtral>(), numbers_of(m), ranks_in(1, 1, 4), axis_names, o);
  for (const layer_traffic& l : whole.layers) {
    CHECK(of(l.forward, k::all_to_all) == 3);
    CHECK(of(l.forward, k::all_gather) == 1);
    CHECK(of(l.forward, k::all_reduce) == 1);
    CHECK(of(l.backward, k::all_gather) == 1);
    CHECK(of(l.backward, k::all_reduce) == 1);
  }
  // 32 tokens of 16 floats on 4 ranks, each in 2 rows: 16 rows a rank, of which 12 leave if they spread evenly, and 48 may arrive.
  int exchanges = 0;
  for (const explained_collective& e : sp.collectives) {
    if (e.rows == rows_go::nowhere) continue;
    ++exchanges;
    CHECK(e.row_bytes == 64);
    CHECK(e.payload == 16 * 64);
    CHECK(e.ring == 12 * 64);
    CHECK(e.most == (e.rows == rows_go::to_experts ? 16 : 48) * 64);
  }
  CHECK(exchanges == 8);
}
