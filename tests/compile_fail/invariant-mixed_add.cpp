// The residual stream plus a value that left its region for Replicate: the sum's gradient could be neither.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using stream = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Invariant>>>;
using sum = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const stream& x, const sum& o) {
  return plait::add(c, x, plait::redistribute<plait::layout<node>>(c, o));  // expected-error {{"plait\[invariant-mixed\]"}}
}
#else
auto y(plait::context& c, const stream& x, const sum& o) {
  return plait::add(c, x, plait::redistribute<plait::layout<node, plait::on<tp, plait::Invariant>>>(c, o));
}
#endif
