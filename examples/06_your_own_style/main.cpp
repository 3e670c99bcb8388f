// A style of your own is a type with five slots and an axis; the library is not touched. This one cuts W by its outputs, as
// colwise does, but then swaps the cut from the last dim to the rows with an all-to-all. Its backward is derived: an all-to-all.
#include <cmath>
#include <cstdio>
#include <vector>

#include "plait/cpu/backend.hpp"
#include "plait/model/batch.hpp"
#include "plait/ops/leaf.hpp"
#include "plait/runtime.hpp"
#include "plait/train/load.hpp"

namespace pl = plait;

template <class Axis>
struct colwise_to_rows {
  using axis = Axis;
  using weight = pl::Shard<-2>;              // W[out, in] cut by out
  using bias = pl::Replicate;                // added after the swap, where each rank has whole rows
  using input = pl::Replicate;               // how the input must arrive
  using output = pl::becomes<pl::Shard<0>>;  // x W^T comes out cut in its last dim; then it is cut by rows
};
static_assert(pl::parallel_style<colwise_to_rows<void>>);

struct tp : pl::axis<pl::dyn> {};
struct node : pl::mesh<tp> {};
struct model {
  static constexpr pl::parameter parameters[] = {{"proj.weight", {12, 16}}, {"proj.bias", {12}}};
};
struct plan : pl::plan<node, pl::parameters<pl::rule<"proj", colwise_to_rows<tp>>>> {};
static_assert(pl::covers<plan, model>);

struct result {
  double loss = 0, norm = 0;
  std::vector<pl::collective_record> records;
};

void train_once(pl::context& c, result& r) {
  using region = pl::layout<node>;
  using by_row = pl::layout<node, pl::on<tp, pl::Shard<0>>>;
  pl::parameter_store store;
  pl::build_store(c, store, pl::table_of<plan, model>(), {});
  pl::initialise_weights(c, store, 1, 0.3);
  std::vector<float> values(8 * 16);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(pl::normal(2, i));
  const std::int64_t global[] = {8, 16}, label[] = {0, 1, 2, 3, 4, 5, 6, 7};
  const auto x = pl::with_gradient(pl::constant<region, float, pl::extents<8, 16>>(c, values.data(), global));
  const auto labels = pl::constant<by_row, std::int64_t, pl::extents<8>>(c, label, global);

  pl::tape tape;
  std::vector<pl::collective_record> records;
  c.recording = &tape;
  c.records = &records;
  store.enter_unit(c, 1, -1);
  const auto y = pl::project(c, x, pl::weight<plan, model, "proj.weight">(store), pl::weight<plan, model, "proj.bias">(store));
  static_assert(pl::same_layout<decltype(y), by_row>);
  const auto loss = pl::cross_entropy_sum(c, pl::cross_entropy_parts(c, y, pl::row_maximum(c, y), labels), labels, 0.125);
  store.leave_unit(c, 1, -1);
  pl::backward(c, loss);  // Partial: each rank has its rows' share
  c.records = nullptr;
  c.recording = nullptr;
  store.synchronise_gradients(c);
  const double norm = store.gradient_norm(c), value = pl::value_of(c, loss);
  if (c.rank == 0) r = {value, norm, records};
}

int main() {
  result one, four;
  pl::run_ranks({1, {1}}, pl::cpu_backend(), [&](pl::context& c) { train_once(c, one); });
  pl::run_ranks({1, {4}}, pl::cpu_backend(), [&](pl::context& c) { train_once(c, four); });
  std::printf("loss %.6f on 1 rank, %.6f on 4; gradient norm %.6f and %.6f\n", one.loss, four.loss, one.norm, four.norm);
  bool ok = four.records.size() == 2 && std::abs(one.loss - four.loss) < 1e-5 && std::abs(one.norm - four.norm) < 1e-5;
  for (const pl::collective_record& record : four.records) {
    std::printf("%s: %s\n", record.backward ? "backward" : "forward", pl::name_of(record.kind));
    ok = ok && record.kind == pl::collective_kind::all_to_all;
  }
  return ok ? 0 : 1;
}
