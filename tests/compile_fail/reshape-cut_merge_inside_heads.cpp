// Heads merged while their insides are cut: the cut would not stay outermost.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using inside = plait::tensor<float, plait::extents<dyn, dyn, 4, 8>, plait::layout<node, plait::on<tp, plait::Shard<3>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const inside& x) {
  return plait::merge_heads(c, x);  // expected-error {{"plait\[reshape-cut\]"}}
}
#else
auto y(plait::context& c, const inside& x) {
  return plait::merge_heads(c, plait::redistribute<plait::layout<node, plait::on<tp, plait::Shard<2>>>>(c, x));
}
#endif
