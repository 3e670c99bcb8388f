// The norm of a pending sum: the sum of the norms is not the norm of the sum.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
using weight = plait::tensor<float, plait::extents<8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const sum& x, const weight& w) {
  return plait::rms_norm(c, x, w, 1e-6);  // expected-error {{"plait\[partial-nonlinear\]"}}
}
#else
auto y(plait::context& c, const sum& x, const weight& w) {
  return plait::rms_norm(c, plait::redistribute<plait::layout<node>>(c, x), w, 1e-6);
}
#endif
