// Sequence parallelism: between its regions the stream is cut by sequence, so norms run on a quarter of the tokens. Entering a
// region is an all-gather, leaving it a reduce-scatter; backward has the same two, because each is the other's adjoint.
#include <cstdio>
#include <vector>

#include "plait/cpu/backend.hpp"
#include "plait/model/batch.hpp"
#include "plait/ops/leaf.hpp"
#include "plait/runtime.hpp"
#include "plait/train/random.hpp"

namespace pl = plait;

struct tp : pl::axis<4> {};
struct node : pl::mesh<tp> {};
using copies = pl::layout<node>;
using by_sequence = pl::layout<node, pl::on<tp, pl::Shard<1>>>;  // of [batch, sequence, width]
using by_row = pl::layout<node, pl::on<tp, pl::Shard<0>>>;
using by_column = pl::layout<node, pl::on<tp, pl::Shard<1>>>;

template <class Layout, int... Sizes>
auto numbers(pl::context& c, const char* name) {
  const std::int64_t global[] = {Sizes...};
  std::vector<float> all((Sizes * ...));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<float>(0.3 * pl::normal(pl::stream_key(1, name), i));
  return pl::with_gradient(pl::constant<Layout, float, pl::extents<Sizes...>>(c, all.data(), global));
}

/// A block: norm, up, down, residual.
void block(pl::context& c, std::vector<pl::collective_record>& records) {
  const auto x = numbers<by_sequence, 2, 8, 16>(c, "x");  // 2 of 8 positions on each rank
  const auto norm = numbers<copies, 16>(c, "norm");
  const auto gate = numbers<by_row, 32, 16>(c, "gate"), up = numbers<by_row, 32, 16>(c, "up");
  const auto down = numbers<by_column, 16, 32>(c, "down");
  // The norm's weight is whole, but each rank applies it to its own positions: the type says that its gradient is a pending sum.
  static_assert(pl::same_layout<pl::grad_t<decltype(norm)>, pl::layout<node, pl::on<tp, pl::Partial>>>);
  const std::vector<std::int64_t> label(16, 5);
  const std::int64_t tokens[] = {2, 8};
  const auto labels = pl::constant<by_sequence, std::int64_t, pl::extents<2, 8>>(c, label.data(), tokens);

  pl::tape tape;
  c.recording = &tape;
  if (c.rank == 0) c.records = &records;
  const auto h = pl::enter<copies>(c, pl::rms_norm(c, x, norm, 1e-6));                                   // all-gather
  const auto partial = pl::linear(c, pl::swiglu(c, pl::linear(c, h, gate), pl::linear(c, h, up)), down);
  const auto y = pl::add(c, x, pl::redistribute<by_sequence>(c, partial));                               // reduce-scatter
  const auto parts = pl::cross_entropy_parts(c, y, pl::row_maximum(c, y), labels);
  const auto loss = pl::cross_entropy_sum(c, parts, labels, 1.0 / 16);
  static_assert(pl::same_layout<decltype(loss), pl::layout<node, pl::on<tp, pl::Partial>>>);  // each rank has its tokens' share
  pl::backward(c, loss);
  c.recording = nullptr;
  c.records = nullptr;
}

int main() {
  std::vector<pl::collective_record> records;
  pl::run_ranks(pl::shape_of<node>(), pl::cpu_backend(), [&](pl::context& c) { block(c, records); });
  int gathers[2] = {}, scatters[2] = {};
  for (const pl::collective_record& one : records) {
    std::printf("%-8s %-14s over %d ranks, %lld bytes a rank\n", one.backward ? "backward" : "forward", pl::name_of(one.kind),
                one.ranks, static_cast<long long>(one.payload));
    gathers[one.backward] += one.kind == pl::collective_kind::all_gather;
    scatters[one.backward] += one.kind == pl::collective_kind::reduce_scatter;
  }
  const bool as_expected = records.size() == 4 && gathers[0] == 1 && gathers[1] == 1 && scatters[0] == 1 && scatters[1] == 1;
  std::printf("one all-gather and one reduce-scatter each way: %s\n", as_expected ? "yes" : "NO");
  return as_expected ? 0 : 1;
}
