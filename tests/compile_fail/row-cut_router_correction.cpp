// A correction of the choice that is cut by expert: each rank would correct other experts than the logits are of.
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using logits = plait::tensor<float, plait::extents<dyn, dyn, 4>, plait::layout<node>>;
template <class... Places>
using correction = plait::tensor<float, plait::extents<4>, plait::layout<node, Places...>>;
#ifdef PLAIT_EXPECT_FAIL
auto routed(plait::context& c, const logits& l, const correction<plait::on<tp, plait::Shard<0>>>& b) {
  return plait::route(c, l, b, 2, {.scoring = plait::router_scoring::sigmoid});  // expected-error {{"plait\[row-cut\]"}}
}
#else
auto routed(plait::context& c, const logits& l, const correction<>& b) {
  return plait::route(c, l, b, 2, {.scoring = plait::router_scoring::sigmoid});
}
#endif
