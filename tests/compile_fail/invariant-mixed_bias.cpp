// A bias outside the region onto a value inside it.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using whole = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
template <class Placement>
using bias = plait::tensor<float, plait::extents<8>, plait::layout<node, plait::on<tp, Placement>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const whole& x, const bias<plait::Invariant>& b) {
  return plait::bias_add(c, x, b);  // expected-error {{"plait\[invariant-mixed\]"}}
}
#else
auto y(plait::context& c, const whole& x, const bias<plait::Replicate>& b) {
  return plait::bias_add(c, x, b);
}
#endif
