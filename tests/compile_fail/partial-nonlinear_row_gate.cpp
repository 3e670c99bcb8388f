// A gate that still is a pending sum: the sigmoid of a sum is not the sum of sigmoids.
#include "plait/ops/row_gate.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
using pending_gate = plait::tensor<float, plait::extents<dyn, 1>, plait::layout<node, plait::on<tp, plait::Partial>>>;
using whole = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const whole& x, const pending_gate& gate) {
  return plait::gate_rows(c, x, gate);  // expected-error {{"plait\[partial-nonlinear\]"}}
}
#else
sum y(plait::context& c, const sum& x, const pending_gate& gate) {
  return plait::gate_rows(c, x, plait::redistribute<plait::layout<node>>(c, gate));  // x may stay one: the gate is linear in it
}
#endif
