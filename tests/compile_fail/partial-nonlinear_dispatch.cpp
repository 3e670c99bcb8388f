// Tokens that still are a pending sum, sent to experts (whose activation is not linear).
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
using whole = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node>>;
using experts = plait::tensor<float, plait::extents<4, 16, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
using routed = plait::routing<float, plait::layout<node>, 3>;
#ifdef PLAIT_EXPECT_FAIL
auto rows(plait::context& c, const sum& x, const routed& r, const experts& w) {
  return plait::dispatch(c, x, r, w);  // expected-error {{"plait\[partial-nonlinear\]"}}
}
#else
auto rows(plait::context& c, const sum& x, const routed& r, const experts& w) {
  return plait::dispatch(c, plait::redistribute<plait::layout<node>>(c, x), r, w);
}
#endif
