// A gated MLP under tensor parallelism, forward and backward, on 4 ranks and on 1: the same numbers. No collective is named
// anywhere: the all-reduce of the output is the move Partial -> Invariant, that of the input's gradient the adjoint of entering.
#include <cmath>
#include <cstdio>
#include <vector>

#include "plait/cpu/backend.hpp"
#include "plait/model/batch.hpp"
#include "plait/ops/leaf.hpp"
#include "plait/runtime.hpp"
#include "plait/train/random.hpp"

namespace pl = plait;

struct tp : pl::axis<pl::dyn> {};  // size known at run time: one program for 1 and for 4 ranks
struct node : pl::mesh<tp> {};
using same = pl::layout<node, pl::on<tp, pl::Invariant>>;    // whole, identical work on every rank
using copies = pl::layout<node>;                             // whole, each rank uses it on its own (Replicate)
using colwise = pl::layout<node, pl::on<tp, pl::Shard<0>>>;  // W[out, in] cut by out
using rowwise = pl::layout<node, pl::on<tp, pl::Shard<1>>>;  // W[out, in] cut by in

/// Normal numbers by name: one global tensor, of which each rank takes what Layout gives it.
template <class Layout, int... Sizes>
auto numbers(pl::context& c, const char* name) {
  const std::int64_t global[] = {Sizes...};
  std::vector<double> all((Sizes * ...));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = 0.3 * pl::normal(pl::stream_key(1, name), i);
  return pl::with_gradient(pl::constant<Layout, double, pl::extents<Sizes...>>(c, all.data(), global));
}

struct result {
  double loss = 0;
  std::vector<double> gradients;
  int forward = 0, backward = 0;  // collectives
};

void train_once(pl::context& c, result& r) {
  auto x = numbers<same, 6, 16>(c, "x");  // 6 tokens of width 16
  const auto leaf = x;                    // x is given up below; its gradient is found here
  const auto gate = numbers<colwise, 32, 16>(c, "gate"), up = numbers<colwise, 32, 16>(c, "up");
  const auto down = numbers<rowwise, 10, 32>(c, "down");
  const std::int64_t label[] = {3, 1, 4, 1, 5, 9}, tokens[] = {6};
  const auto labels = pl::constant<same, std::int64_t, pl::extents<6>>(c, label, tokens);

  pl::tape tape;
  std::vector<pl::collective_record> records;
  c.recording = &tape;
  c.records = &records;
  const auto h = pl::enter<copies>(c, std::move(x));  // once; gate and up share it, and so does its one all-reduce
  const auto partial = pl::linear(c, pl::swiglu(c, pl::linear(c, h, gate), pl::linear(c, h, up)), down);
  static_assert(pl::same_layout<decltype(partial), pl::layout<node, pl::on<tp, pl::Partial>>>);  // a pending sum, by inference
  const auto logits = pl::redistribute<same>(c, partial);
  const auto parts = pl::cross_entropy_parts(c, logits, pl::row_maximum(c, logits), labels);
  const auto loss = pl::cross_entropy_sum(c, parts, labels, 1.0 / 6);
  pl::backward(c, loss);
  c.recording = nullptr;
  c.records = nullptr;

  const double value = pl::value_of(c, loss);
  if (c.rank == 0) r.loss = value;
  if (c.rank == 0)
    for (const pl::collective_record& one : records) ++(one.backward ? r.backward : r.forward);
  const auto keep = [&](const auto& weight) {  // gathers a gradient, to compare it
    const auto whole = pl::redistribute<same>(c, pl::gradient_of(c, weight));
    const auto values = pl::values_of(c, whole);
    if (c.rank == 0) r.gradients.insert(r.gradients.end(), values.begin(), values.end());
  };
  keep(leaf), keep(gate), keep(up), keep(down);
}

int main() {
  result one, four;
  pl::run_ranks({1, {1}}, pl::cpu_backend(), [&](pl::context& c) { train_once(c, one); });
  pl::run_ranks({1, {4}}, pl::cpu_backend(), [&](pl::context& c) { train_once(c, four); });
  double worst = std::abs(one.loss - four.loss);
  for (std::size_t i = 0; i < one.gradients.size(); ++i) worst = std::fmax(worst, std::abs(one.gradients[i] - four.gradients[i]));
  std::printf("loss %.6f on 1 rank, %.6f on 4; largest difference of loss and %zu gradient entries: %.1e\n", one.loss, four.loss,
              one.gradients.size(), worst);
  std::printf("collectives on 4 ranks: %d forward, %d backward\n", four.forward, four.backward);
  return worst < 1e-12 && four.forward == 1 && four.backward == 1 ? 0 : 1;
}
