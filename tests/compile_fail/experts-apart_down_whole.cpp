// Rows dispatched to the experts of this rank, then multiplied by a weight that holds all experts: expert 1 would use down[0].
#include "plait/ops/experts.hpp"

struct ep : plait::axis<2> {};
struct node : plait::mesh<ep> {};
using plait::dyn;
template <class Layout, int... E>
using t = plait::tensor<float, plait::extents<E...>, Layout>;
using whole = plait::layout<node>;
using by_expert = plait::layout<node, plait::on<ep, plait::Shard<0>>>;
using tokens = t<whole, dyn, 8>;
using routed = plait::routing<float, whole, 2>;
#ifdef PLAIT_EXPECT_FAIL
using down_weight = t<whole, 4, 8, 16>;
#else
using down_weight = t<by_expert, 4, 8, 16>;
#endif
auto y(plait::context& c, const tokens& x, const routed& r, const t<by_expert, 4, 16, 8>& up, const down_weight& down) {
  const auto rows = plait::dispatch(c, x, r, up);
  return plait::grouped_linear(c, plait::grouped_linear(c, rows, up), down);  // expected-error {{"plait\[experts-apart\]"}}
}
