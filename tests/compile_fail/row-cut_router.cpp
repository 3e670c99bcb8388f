// Logits cut by expert: each rank would choose the best of its own experts.
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using tokens = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node>>;
using gate = plait::tensor<float, plait::extents<4, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto routed(plait::context& c, const tokens& x, const gate& w) {
  return plait::route(c, plait::linear(c, x, w), 2, {.normalise = true});  // expected-error {{"plait\[row-cut\]"}}
}
#else
auto routed(plait::context& c, const tokens& x, const gate& w) {
  return plait::route(c, plait::redistribute<plait::layout<node>>(c, plait::linear(c, x, w)), 2, {.normalise = true});
}
#endif
