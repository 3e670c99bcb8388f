// Routed while cut by sequence, dispatched while whole: the ids of other tokens.
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using tokens = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node>>;
using experts = plait::tensor<float, plait::extents<4, 16, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
template <class Layout>
using routed = plait::routing<float, Layout, 3>;
#ifdef PLAIT_EXPECT_FAIL
auto rows(plait::context& c, const tokens& x, const routed<plait::layout<node, plait::on<tp, plait::Shard<1>>>>& r,
    const experts& w) {
  return plait::dispatch(c, x, r, w);  // expected-error {{"plait\[placement-mismatch\]"}}
}
#else
auto rows(plait::context& c, const tokens& x, const routed<plait::layout<node>>& r, const experts& w) {
  return plait::dispatch(c, x, r, w);
}
#endif
