// The residual stream used inside a region without having entered it: its gradient would miss an all-reduce.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using stream = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Invariant>>>;
using weight = plait::tensor<float, plait::extents<8, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const stream& x, const weight& w) {
  return plait::linear(c, x, w);  // expected-error {{"plait\[invariant-mixed\]"}}
}
#else
auto y(plait::context& c, stream x, const weight& w) {
  return plait::linear(c, plait::enter<plait::layout<node>>(c, std::move(x)), w);
}
#endif
