// FSDP as a pair of layouts. Four ranks: all of them use the same dense weights, so FSDP cuts those in four; the experts differ
// over ep, so only ranks that hold the same experts (efsdp) may share them out. Writing fsdp<data> there does not compile.
#include <atomic>
#include <cstdio>
#include <vector>

#include "plait/cpu/backend.hpp"
#include "plait/ops/leaf.hpp"
#include "plait/runtime.hpp"
#include "plait/train/load.hpp"

namespace pl = plait;

struct outer : pl::axis<2> {};
struct inner : pl::axis<2> {};
struct node : pl::mesh<outer, inner> {};
struct data : pl::axis_view<outer, inner> {};
struct ep : pl::axis_view<inner> {};
struct efsdp : pl::axis_view<outer> {};
static_assert(pl::refold<pl::from<data>, pl::to<efsdp, ep>>::legal);  // the same four ranks, seen in two ways

struct model {
  static constexpr pl::parameter parameters[] = {
      {"layers.*.dense.weight", {16, 16}},
      {"layers.*.experts", {4, 16, 16}},
      {"head.weight", {8, 16}},
  };
};
/// Whole while computing, and used by each rank for its own rows.
template <class Axis>
struct whole : pl::style<Axis, pl::Replicate, pl::Replicate, pl::Replicate, pl::stays<pl::Replicate>> {};

struct plan : pl::plan<node, pl::parameters<
    pl::rule<"layers.*.dense", whole<data>>,
    pl::rule<"layers.*.experts", pl::grouped_gemm<ep>, pl::fsdp<efsdp>>,
    pl::rule<"head", whole<data>>>,
    pl::activations<>,
    pl::everywhere<pl::fsdp<data>>> {};
static_assert(pl::covers<plan, model>);

using dense = pl::sharded_t<plan, model, "layers.*.dense.weight", float>;
using dense_stored = pl::stored_t<plan, model, "layers.*.dense.weight", float>;
static_assert(dense::local_extents() == pl::extents<16, 16>{} && dense_stored::local_extents() == pl::extents<4, 16>{});
using experts = pl::sharded_t<plan, model, "layers.*.experts", float>;
using experts_stored = pl::stored_t<plan, model, "layers.*.experts", float>;
static_assert(experts::local_extents() == pl::extents<2, 16, 16>{});
static_assert(experts_stored::local_extents() == pl::extents<1, 16, 16>{});

constexpr int layers = 3;

/// Every element of the gathered experts is that of the global tensor at its place.
bool experts_are_own(pl::context& c, pl::parameter_store& store, int layer) {
  const auto w = pl::weight<plan, model, "layers.*.experts">(store, layer);
  const float* local = static_cast<const float*>(w.data().now().data);
  const std::uint64_t key = pl::stream_key(7, "layers." + std::to_string(layer) + ".experts");
  const std::size_t size = 2 * 16 * 16, first = static_cast<std::size_t>(c.coordinate[1]) * size;
  for (std::size_t i = 0; i < size; ++i)
    if (local[i] != static_cast<float>(0.5 * pl::normal(key, first + i))) return false;
  return true;
}

int main() {
  std::atomic<bool> ok = true;
  std::vector<pl::collective_record> records;
  pl::run_ranks(pl::shape_of<node>(), pl::cpu_backend(), [&](pl::context& c) {
    pl::parameter_store store;
    pl::build_store(c, store, pl::table_of<plan, model>(), {{}, std::vector<bool>(layers, true), false});
    pl::initialise_weights(c, store, 7, 0.5);
    if (c.rank == 0) c.records = &records;
    bool own = true;
    for (int l = 0; l < layers; ++l) {
      store.enter_unit(c, l + 1, l + 1 < layers ? l + 2 : -1);  // gathers the layer, starts gathering the next one
      own = own && experts_are_own(c, store, l);
      store.leave_unit(c, l + 1, l);      // frees it
    }
    store.drop_all();
    if (!own || store.peak_gathered_bytes() > store.gathered_bound()) ok = false;
    if (c.rank == 0)
      std::printf("gathered weights: at most %lld bytes at a time, bound %lld\n",
                  static_cast<long long>(store.peak_gathered_bytes()), static_cast<long long>(store.gathered_bound()));
  });
  for (const pl::collective_record& one : records)
    std::printf("%s %d: %s over %d ranks, %lld bytes a rank\n", one.where.c_str(), one.layer, pl::name_of(one.kind), one.ranks,
                static_cast<long long>(one.payload));
  // One gather a unit and rank group: dense over 4 ranks, experts over 2.
  return ok && records.size() == 2 * layers ? 0 : 1;
}
