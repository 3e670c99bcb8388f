// A packed value into a weight whose input dim is cut plainly: the ranks' columns do not correspond.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using packed = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::StridedShard<2, 2>>>>;
using plain = plait::tensor<float, plait::extents<8, 8>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
using strided = plait::tensor<float, plait::extents<8, 8>, plait::layout<node, plait::on<tp, plait::StridedShard<1, 2>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const packed& x, const plain& w) {
  return plait::linear(c, x, w);  // expected-error {{"plait\[packed-mismatch\]"}}
}
#else
auto y(plait::context& c, const packed& x, const strided& w) {
  return plait::linear(c, x, w);
}
#endif
