// Each style's slots fit each other: the product of a cut weight and the bias that its bias slot cuts come out as its output slot says.
#include <utility>

#include "plait/ops/styled.hpp"
#include "plait/plan/covers.hpp"
#include "plait/style/dense.hpp"

using namespace plait;

namespace {
struct tp : axis<2> {};
struct node : mesh<tp> {};
template <class Placement>
using over_tp = layout<node, on<tp, Placement>>;

template <bool Packed>
struct model {
  static constexpr parameter parameters[] = {{"proj.weight", {16, 16}}, {"proj.bias", {16}}};
};
template <>
struct model<true> {
  static constexpr parameter parameters[] = {{"proj.weight", {16, 16}, packed(0, 2)}, {"proj.bias", {16}, packed(-1, 2)}};
};
template <class Style>
struct plan_of : plan<node, parameters<rule<"proj", Style>>> {};

template <class Placement>
using from_front = std::conditional_t<std::is_same_v<Placement, Shard<-1>>, Shard<2>, Placement>;
template <class Style, bool Packed = false>
using projected = decltype(project(std::declval<context&>(), std::declval<const tensor<float, extents<dyn, dyn, 16>, over_tp<from_front<typename Style::input>>>&>(),
    std::declval<const styled<Style, tensor<float, extents<16, 16>, compute_layout_t<plan_of<Style>, model<Packed>, 0>>>&>(),
    std::declval<const styled<Style, tensor<float, extents<16>, compute_layout_t<plan_of<Style>, model<Packed>, 1>>>&>()));

static_assert(same_layout<projected<colwise<tp>>, over_tp<Shard<2>>>);
static_assert(same_layout<projected<colwise_gather_output<tp>>, over_tp<Invariant>>);
static_assert(same_layout<projected<packed_colwise<tp>, true>, over_tp<StridedShard<2, 2>>>);
static_assert(same_layout<projected<rowwise<tp>>, over_tp<Invariant>>);
static_assert(same_layout<projected<rowwise_scatter<tp>>, over_tp<Shard<1>>>);
static_assert(same_layout<projected<replicated<tp>>, over_tp<Invariant>>);
static_assert(same_layout<projected<sequence_parallel<tp>>, over_tp<Shard<1>>>);
static_assert(same_layout<projected<on_every_rank<tp>>, over_tp<Replicate>>);
}  // namespace
