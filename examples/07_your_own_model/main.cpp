// A model of your own: a parameter table, the points where it asks the plan for a layout, a forward pass in typed ops. FSDP, the
// training step and AdamW are the library's. Here bytes predict the next byte, on 4 ranks: FSDP over 2, TP over 2.
#include <cstdio>

#include "plait/cpu/backend.hpp"
#include "plait/ops/leaf.hpp"
#include "plait/runtime.hpp"
#include "plait/tensor/uniform_layout.hpp"
#include "plait/train/load.hpp"
#include "plait/train/step.hpp"

namespace pl = plait;
struct data : pl::axis<2> {};
struct tp : pl::axis<2> {};
struct node : pl::mesh<data, tp> {};

struct bytes {
  static constexpr pl::parameter parameters[] = {
      {"model.embed_tokens.weight", {256, 32}},
      {"layers.*.norm.weight", {32}},
      {"layers.*.up.weight", {128, 32}, pl::packed(0, 2)},
      {"layers.*.down.weight", {32, 64}},
      {"head.weight", {256, 32}},
  };
  static constexpr pl::activation_point activations[] = {{"layers.*", 3}, {"layers.*.mlp", 3}};
};
struct bytes_tp : pl::plan<node,
    pl::parameters<pl::rule<"model.embed_tokens", pl::vocabulary<tp>>, pl::rule<"layers.*.norm", pl::replicated<tp>>,
                   pl::rule<"layers.*.up", pl::packed_colwise<tp>>, pl::rule<"layers.*.down", pl::rowwise<tp>>,
                   pl::rule<"head", pl::colwise<tp>>>,
    pl::activations<pl::activation<"layers.*", pl::on<data, pl::Shard<0>>, pl::on<tp, pl::Invariant>>,
                    pl::activation<"layers.*.mlp", pl::on<data, pl::Shard<0>>>>,
    pl::everywhere<pl::fsdp<data>>> {};
static_assert(pl::covers<bytes_tp, bytes>);
using stream = pl::activation_layout_t<bytes_tp, bytes, pl::point_of<bytes>("layers.*")>;
using region = pl::activation_layout_t<bytes_tp, bytes, pl::point_of<bytes>("layers.*.mlp")>;
constexpr int layers = 2;
template <class X> auto reduced(pl::context& c, const X& x) {
  return pl::redistribute<pl::reduced_layout_t<typename X::layout_type>>(c, x);  // all-reduces what is pending
}

struct byte_model final : pl::any_model {
  pl::parameter_store store;
  explicit byte_model(pl::context& c) {
    pl::build_store(c, store, pl::table_of<bytes_tp, bytes>(), {{}, std::vector<bool>(layers, false), false});
    pl::initialise_weights(c, store, 1, 0.1);
  }
  template <pl::fixed_string Name> auto w(int layer = -1) { return pl::weight<bytes_tp, bytes, Name>(store, layer); }
  pl::slice_result run(pl::context& c, const pl::batch& in, const pl::loss_scale* scale, bool, bool) override {
    const std::int64_t global[] = {in.rows, in.columns};
    const auto ids = pl::constant<region, std::int64_t, pl::extents<pl::dyn, pl::dyn>>(c, in.ids.data(), global);
    const auto labels = pl::constant<region, std::int64_t, pl::extents<pl::dyn, pl::dyn>>(c, in.labels.data(), global);
    pl::tape tape;
    c.recording = &tape;
    store.enter_unit(c, 0, 1);  // gathers the embedding, starts gathering layer 0
    pl::tensor<float, pl::extents<pl::dyn, pl::dyn, 32>, stream> x = pl::embed(c, ids, w<"model.embed_tokens.weight">());
    store.leave_unit(c, 0, -1);
    for (int l = 0; l < layers; ++l) {
      store.enter_unit(c, l + 1, l + 2);
      const auto h = pl::enter<region>(c, pl::normalise(c, x, w<"layers.*.norm.weight">(l), 1e-5));
      const auto u = pl::swiglu(c, pl::project(c, h, w<"layers.*.up.weight">(l)));
      x = pl::add(c, x, pl::project(c, u, w<"layers.*.down.weight">(l)));
      store.leave_unit(c, l + 1, l);
    }
    store.enter_unit(c, layers + 1, -1);
    const auto logits = pl::project(c, pl::enter<region>(c, std::move(x)), w<"head.weight">());  // vocabulary cut over tp
    store.leave_unit(c, layers + 1, layers);
    const auto parts = reduced(c, pl::cross_entropy_parts(c, logits, reduced(c, pl::row_maximum(c, logits)), labels));
    const auto loss = reduced(c, pl::cross_entropy_sum(c, parts, labels, 1 / scale->tokens));
    pl::backward(c, loss);
    c.recording = nullptr;
    return {pl::value_of(c, loss), 0, {}, {}};
  }
};

int main() {
  const std::string text = "the weaver plaits the thread; the thread holds the weaver. three threads, three weavers.";
  const pl::batch input = pl::batch::of(4, 22, std::vector<std::int64_t>(text.begin(), text.end()));
  double first = 0, last = 0;
  pl::run_ranks(pl::shape_of<node>(), pl::cpu_backend(), [&](pl::context& c) {
    byte_model model(c);
    for (int step = 1; step <= 20; ++step) {
      const pl::step_options options{.clip = 1, .adamw = {.learning_rate = 0.01, .step = step}};
      const pl::step_result r = pl::train_step(c, model, model.store, input, options);
      if (c.rank == 0) (step == 1 ? first : last) = r.loss;
      if (c.rank == 0 && step % 5 == 0) std::printf("step %2d  loss %.4f  gradient norm %.3f\n", step, r.loss, r.gradient_norm);
    }
  });
  return last < 0.6 * first ? 0 : 1;
}
