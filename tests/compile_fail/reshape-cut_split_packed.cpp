// A packed last dim split into heads: heads of gate would mix with heads of up.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using packed = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::StridedShard<2, 2>>>>;
using plain = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<2>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const packed& x) {
  return plait::split_heads(c, x, 2);  // expected-error {{"plait\[reshape-cut\]"}}
}
#else
auto y(plait::context& c, const plain& x) {
  return plait::split_heads(c, x, 2);
}
#endif
