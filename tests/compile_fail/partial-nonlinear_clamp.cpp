// A pending sum that is clamped: what lies beyond the limit on one rank need not in the sum.
#include "plait/ops/dense.hpp"
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using sum = plait::tensor<float, plait::extents<plait::dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const sum& x) {
  return plait::clamp(c, x, 8.0);  // expected-error {{"plait\[partial-nonlinear\]"}}
}
#else
auto y(plait::context& c, const sum& x) { return plait::clamp(c, plait::redistribute<plait::layout<node>>(c, x), 8.0); }
#endif
