// Router logits from a gate cut by rows: the softmax and the top-k of addends choose other experts than those of the sum.
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using tokens = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<2>>>>;
using gate = plait::tensor<float, plait::extents<4, 8>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto routed(plait::context& c, const tokens& x, const gate& w) {
  return plait::route(c, plait::linear(c, x, w), 2, {.normalise = true});  // expected-error {{"plait\[partial-nonlinear\]"}}
}
#else
auto routed(plait::context& c, const tokens& x, const gate& w) {
  return plait::route(c, plait::redistribute<plait::layout<node>>(c, plait::linear(c, x, w)), 2, {.normalise = true});
}
#endif
