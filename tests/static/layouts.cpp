// Compiling is passing: types that users see, as compilers print them.
#include <type_traits>

#include "plait/plait.hpp"

namespace {

using namespace plait;

struct dp : axis<2> {};
struct tp : axis<4> {};
struct solo : axis<1> {};
struct node : mesh<dp, solo, tp> {};

template <class A, class B>
constexpr bool same = std::is_same_v<A, B>;

// One layout, one type: order of unlike dims, Replicate and single axes do not matter.
static_assert(same<layout<node, on<tp, Shard<1>>, on<dp, Shard<0>>, on<solo, Shard<0>>>, layout<node, on<dp, Shard<0>>, on<tp, Shard<1>>>>);
static_assert(!same<layout<node, on<tp, Shard<0>>, on<dp, Shard<0>>>, layout<node, on<dp, Shard<0>>, on<tp, Shard<0>>>>);
static_assert(same<layout<node, on<tp, Replicate>>, laid_out<node>>);
static_assert(same<layout<node, on<dp, Partial>, on<tp, Shard<0>>>, laid_out<node, on<tp, Shard<0>>, on<dp, Partial>>>);

// The gradient's type is a function of the value's type, and an involution.
using x = layout<node, on<tp, Shard<1>>>;
static_assert(same<grad_layout_t<x>, layout<node, on<tp, Shard<1>>, on<dp, Partial>>>);
static_assert(same<grad_layout_t<grad_layout_t<x>>, x>);

// Local extents follow from the type.
static_assert(same<decltype(sharded<float, extents<8, 12>, layout<node, on<tp, Shard<1>>, on<dp, Shard<1>>>>::local_extents()), extents<8, dyn>>);
static_assert(same<decltype(sharded<float, extents<8, 16>, layout<node, on<tp, Shard<1>>, on<dp, Shard<1>>>>::local_extents()), extents<8, 2>>);

// Styles are five slots, and one's own needs no base class.
struct mine {
  using axis = tp;
  using weight = Shard<0>;
  using bias = Shard<0>;
  using input = Replicate;
  using output = becomes<Invariant>;
};
static_assert(parallel_style<mine> && parallel_style<colwise<tp>> && parallel_style<grouped_gemm<dp>> && !parallel_style<fsdp<dp>>);

}  // namespace
