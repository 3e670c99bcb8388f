// Tokens dispatched to experts without having entered: the gradients of the experts' ranks would not be added.
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using stream = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Invariant>>>;
using experts = plait::tensor<float, plait::extents<4, 16, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
template <class Layout>
using routed = plait::routing<float, Layout, 3>;
#ifdef PLAIT_EXPECT_FAIL
auto rows(plait::context& c, const stream& x, const routed<plait::layout<node, plait::on<tp, plait::Invariant>>>& r,
    const experts& w) {
  return plait::dispatch(c, x, r, w);  // expected-error {{"plait\[invariant-mixed\]"}}
}
#else
auto rows(plait::context& c, const stream& x, const routed<plait::layout<node>>& r, const experts& w) {
  return plait::dispatch(c, plait::redistribute<plait::layout<node>>(c, x), r, w);
}
#endif
