// A mixture-of-experts block: 8 experts over the ranks that also cut a shared MLP (tensor parallelism). Both results are pending
// sums, so they are added first and reduced once. 4 ranks, each with its 2 experts, give the numbers of 1.
#include <cmath>
#include <cstdio>
#include <vector>

#include "plait/cpu/backend.hpp"
#include "plait/model/batch.hpp"
#include "plait/ops/leaf.hpp"
#include "plait/runtime.hpp"
#include "plait/train/load.hpp"
namespace pl = plait;
struct tp : pl::axis<pl::dyn> {};
struct node : pl::mesh<tp> {};
struct ep : pl::axis_view<tp> {};  // the same ranks, named for what they cut

struct moe {
  static constexpr pl::parameter parameters[] = {
      {"norm.weight", {32}},
      {"router.weight", {8, 32}},
      {"experts.gate_up", {8, 48, 32}, pl::packed(1, 2)},
      {"experts.down", {8, 32, 24}},
      {"shared.gate_up", {64, 32}, pl::packed(0, 2)},
      {"shared.down", {32, 32}},
  };
};
template <class Axis>  // the shared expert's sum stays pending, to join the experts' before the one reduction
struct rowwise_pending : pl::style<Axis, pl::Shard<-1>, pl::Invariant, pl::Shard<-1>, pl::stays<pl::Partial>> {};

struct moe_tp_ep : pl::plan<node, pl::parameters<
    pl::rule<"norm", pl::replicated<tp>>,
    pl::rule<"router", pl::ep_router<ep>>,
    pl::rule<"experts.gate_up", pl::grouped_gemm<ep>>,
    pl::rule<"experts.down", pl::grouped_gemm<ep>>,
    pl::rule<"shared.gate_up", pl::packed_colwise<tp>>,
    pl::rule<"shared.down", rowwise_pending<tp>>>> {};
static_assert(pl::covers<moe_tp_ep, moe>);
template <pl::fixed_string Name> auto weight(pl::parameter_store& store) { return pl::weight<moe_tp_ep, moe, Name>(store); }
using stream = pl::layout<node, pl::on<tp, pl::Invariant>>;
using region = pl::layout<node>;
struct result {
  double loss = 0, norm = 0;
  std::vector<pl::collective_record> records;
};

void train_once(pl::context& c, result& r) {
  pl::parameter_store store;
  pl::build_store(c, store, pl::table_of<moe_tp_ep, moe>(), {});
  pl::initialise_weights(c, store, 7, 0.3);  // by (seed, name, index): the same weights on 1 rank and on 4
  const std::int64_t global[] = {1, 12, 32}, label[12] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8};
  std::vector<float> values(12 * 32);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(pl::normal(1, i));
  const auto x = pl::constant<stream, float, pl::extents<1, pl::dyn, 32>>(c, values.data(), global);
  const auto labels = pl::constant<stream, std::int64_t, pl::extents<1, pl::dyn>>(c, label, global);

  pl::tape tape;
  std::vector<pl::collective_record> records;
  c.recording = &tape;
  c.records = &records;
  store.enter_unit(c, 1, -1);  // unit 0 is the embedding
  const auto h = pl::enter<region>(c, pl::normalise(c, x, weight<"norm.weight">(store), 1e-6));
  const auto up = weight<"experts.gate_up">(store);
  const auto routed = pl::route(c, pl::project(c, h, weight<"router.weight">(store)), 2, {.normalise = true});
  const auto rows = pl::dispatch(c, h, routed, up);  // those of this rank's experts
  const auto inside = pl::project_experts(c, pl::swiglu(c, pl::project_experts(c, rows, up)), weight<"experts.down">(store));
  const auto experts = pl::combine(c, inside, routed, h);
  const auto inner = pl::swiglu(c, pl::project(c, h, weight<"shared.gate_up">(store)));
  const auto shared = pl::project(c, inner, weight<"shared.down">(store));
  const auto y = pl::add(c, x, pl::redistribute<stream>(c, pl::add(c, experts, shared)));  // two pending sums, one all-reduce
  const auto loss = pl::cross_entropy_sum(c, pl::cross_entropy_parts(c, y, pl::row_maximum(c, y), labels), labels, 1.0 / 12);
  store.leave_unit(c, 1, -1);
  pl::backward(c, loss);
  c.records = nullptr;
  store.synchronise_gradients(c);  // the router's gradient is a pending sum until here
  const double norm = store.gradient_norm(c), value = pl::value_of(c, loss);
  if (c.rank == 0) r = {value, norm, records};
}

int main() {
  result one, four;
  pl::run_ranks({1, {1}}, pl::cpu_backend(), [&](pl::context& c) { train_once(c, one); });
  pl::run_ranks({1, {4}}, pl::cpu_backend(), [&](pl::context& c) { train_once(c, four); });
  std::printf("loss %.6f and %.6f, gradient norm %.6f and %.6f\n", one.loss, four.loss, one.norm, four.norm);
  bool ok = four.records.size() == 2 && std::abs(one.loss - four.loss) < 1e-4 && std::abs(one.norm - four.norm) < 1e-4;
  for (const pl::collective_record& record : four.records) {
    std::printf("%s: %s\n", record.backward ? "backward" : "forward", pl::name_of(record.kind));
    ok = ok && record.kind == pl::collective_kind::all_reduce;
  }
  return ok ? 0 : 1;
}
