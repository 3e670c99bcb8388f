// [gate | up] cut plainly: rank 0 would hold all of gate, rank 1 all of up.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using plain = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<2>>>>;
using packed = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::StridedShard<2, 2>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const plain& x) {
  return plait::swiglu(c, x);  // expected-error {{"plait\[packed-mismatch\]"}}
}
#else
auto y(plait::context& c, const packed& x) {
  return plait::swiglu(c, x);
}
#endif
