// Tokens cut by sequence over the ranks that share out the experts: a token would meet only the experts of its own rank.
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using rows = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
using experts = plait::tensor<float, plait::extents<4, 16, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
template <class Layout>
using routed = plait::routing<float, Layout, 3>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const rows& x, const routed<plait::layout<node, plait::on<tp, plait::Shard<1>>>>& r,
    const experts& w) {
  return plait::dispatch(c, x, r, w);  // expected-error {{"plait\[tokens-cut-over-experts\]"}}
}
#else
auto y(plait::context& c, const rows& x, const routed<plait::layout<node>>& r, const experts& w) {
  return plait::dispatch(c, plait::redistribute<plait::layout<node>>(c, x), r, w);
}
#endif
