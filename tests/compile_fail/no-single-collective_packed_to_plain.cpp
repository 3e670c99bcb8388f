// Packed sections to a plain cut: rows of gate and up would have to change places; no collective of this library does that
// in one step.
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using packed = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::StridedShard<1, 2>>>>;
using whole = plait::layout<node>;
using plain = plait::layout<node, plait::on<tp, plait::Shard<1>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const packed& x) {
  return plait::redistribute<plain>(c, x);  // expected-error {{"plait\[no-single-collective\]"}}
}
#else
auto y(plait::context& c, const packed& x) {
  return plait::redistribute<plain>(c, plait::redistribute<whole>(c, x));
}
#endif
