// A mesh, a model's parameter table, a plan that is checked against it, and what one rank then holds. All of it is types: this
// program starts no ranks. Change a style, misspell a pattern or cut 8 experts in 3, and it does not compile.
#include <cstdio>

#include "plait/plait.hpp"
#include "plait/plan/parameter_type.hpp"
#include "plait/mesh/mesh_shape.hpp"

namespace pl = plait;

struct dp : pl::axis<2> {};
struct tp : pl::axis<4> {};
struct node : pl::mesh<dp, tp> {};  // 8 ranks, outermost axis first
struct ep : pl::axis_view<tp> {};  // experts use tp's ranks under a name of their own

struct mixtral {
  static constexpr pl::parameter parameters[] = {  // one row per kind of parameter; * is a layer number
      {"layers.*.self_attn.q_proj", {4096, 4096}, pl::unit(0, 128)},  // heads of 128 rows are indivisible
      {"layers.*.self_attn.o_proj", {4096, 4096}},
      {"layers.*.mlp.gate", {8, 4096}},
      {"layers.*.mlp.experts.gate_up_proj", {8, 28672, 4096}, pl::packed(1, 2)},
      {"layers.*.mlp.experts.down_proj", {8, 4096, 14336}},
  };
};

struct mixtral_tp_ep : pl::plan<node,
    pl::parameters<
        pl::rule<"layers.*.self_attn.q_proj", pl::colwise<tp>>,
        pl::rule<"layers.*.self_attn.o_proj", pl::rowwise<tp>>,
        pl::rule<"layers.*.mlp.gate", pl::ep_router<ep>>,
        pl::rule<"layers.*.mlp.experts.gate_up_proj", pl::grouped_gemm<ep>>,
        pl::rule<"layers.*.mlp.experts.down_proj", pl::grouped_gemm<ep>>>,
    pl::activations<>,
    pl::everywhere<pl::fsdp<dp>>> {};

static_assert(pl::covers<mixtral_tp_ep, mixtral>);  // every row has a rule, every rule a row, and they make sense together

using gate_up = pl::sharded_t<mixtral_tp_ep, mixtral, "layers.*.mlp.experts.gate_up_proj", float>;
static_assert(gate_up::local_extents() == pl::extents<2, 28672, 4096>{});  // 2 of 8 experts while computing

using stored = pl::stored_t<mixtral_tp_ep, mixtral, "layers.*.mlp.experts.gate_up_proj", float>;
static_assert(stored::local_extents() == pl::extents<1, 28672, 4096>{});  // FSDP keeps 1 of them

// A gradient's layout is a function of the value's: this one is cut like its weight, the router's is a pending sum.
static_assert(std::is_same_v<pl::grad_layout_t<gate_up::layout_type>,
                             pl::layout<node, pl::on<tp, pl::Shard<0>>, pl::on<dp, pl::Partial>>>);
using gate = pl::sharded_t<mixtral_tp_ep, mixtral, "layers.*.mlp.gate", float>;
static_assert(std::is_same_v<pl::grad_layout_t<gate::layout_type>,
                             pl::layout<node, pl::on<dp, pl::Partial>, pl::on<tp, pl::Partial>>>);

int main() {
  const pl::mesh_shape mesh = pl::shape_of<node>();
  for (int rank = 0; rank < mesh.ranks(); ++rank) {
    int at[pl::max_atoms] = {};
    mesh.coordinates(rank, at);
    const pl::index_set experts = pl::held_indices(gate_up::layout_type::value, 0, 8, mesh.size, at);
    const pl::index_set kept = pl::held_indices(stored::layout_type::value, 0, 8, mesh.size, at);
    std::printf("rank %d (dp %d, tp %d): computes experts %lld to %lld, stores expert %lld\n", rank, at[0], at[1],
                static_cast<long long>(experts.range[0].begin), static_cast<long long>(experts.range[0].end - 1),
                static_cast<long long>(kept.range[0].begin));
    if (experts.size() != 2 || kept.size() != 1) return 1;
  }
  return 0;
}
