// The residual added before the reduction is counted once per rank.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
using whole = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const sum& projected, const whole& residual) {
  return plait::add(c, residual, projected);  // expected-error {{"plait\[partial-plus-replicate\]"}}
}
#else
auto y(plait::context& c, const sum& projected, const whole& residual) {
  return plait::add(c, residual, plait::redistribute<plait::layout<node>>(c, projected));
}
#endif
