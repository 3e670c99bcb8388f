// Expert outputs that are addends, weighted by scores that are addends too.
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
using tokens = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node>>;
template <class Layout>
using routed = plait::routing<float, Layout, 3>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const plait::dispatched<sum>& d, const routed<plait::layout<node, plait::on<tp,
    plait::Partial>>>& r, const tokens& x) {
  return plait::combine(c, d, r, x);  // expected-error {{"plait\[partial-times-partial\]"}}
}
#else
auto y(plait::context& c, const plait::dispatched<sum>& d, const routed<plait::layout<node>>& r, const tokens& x) {
  return plait::combine(c, d, r, x);
}
#endif
