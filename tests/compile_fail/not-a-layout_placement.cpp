// A placement alone says nothing about the other axes, nor which axis it is on.
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const sum& x) {
  return plait::redistribute<plait::Replicate>(c, x);  // expected-error {{"plait\[not-a-layout\]"}}
}
#else
auto y(plait::context& c, const sum& x) {
  return plait::redistribute<plait::layout<node>>(c, x);
}
#endif
