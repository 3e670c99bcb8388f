// A packed output, its bias cut plainly: gate entries would get the bias of up.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using packed = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::StridedShard<2, 2>>>>;
template <class Placement>
using bias = plait::tensor<float, plait::extents<8>, plait::layout<node, plait::on<tp, Placement>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const packed& x, const bias<plait::Shard<0>>& b) {
  return plait::bias_add(c, x, b);  // expected-error {{"plait\[packed-mismatch\]"}}
}
#else
auto y(plait::context& c, const packed& x, const bias<plait::StridedShard<0, 2>>& b) {
  return plait::bias_add(c, x, b);
}
#endif
