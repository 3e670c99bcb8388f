// Rows cut over the axis that also cuts the weight by columns: rank i would hold rows i of columns i only.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using rows = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
using weight = plait::tensor<float, plait::extents<8, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const rows& x, const weight& w) {
  return plait::linear(c, x, w);  // expected-error {{"plait\[axis-cuts-twice\]"}}
}
#else
auto y(plait::context& c, const rows& x, const weight& w) {
  return plait::linear(c, plait::redistribute<plait::layout<node>>(c, x), w);
}
#endif
