// silu(gate) * up of a gate that still is a pending sum.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
using whole = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const sum& gate, const whole& up) {
  return plait::swiglu(c, gate, up);  // expected-error {{"plait\[partial-nonlinear\]"}}
}
#else
auto y(plait::context& c, const sum& gate, const whole& up) {
  return plait::swiglu(c, plait::redistribute<plait::layout<node>>(c, gate), up);
}
#endif
