// A pending sum handed to a function that wants the reduced value. No conversion communicates.
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
using whole = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
inline void use(const whole&) {}
#ifdef PLAIT_EXPECT_FAIL
void f(const sum& x) {
  use(x);  // expected-error {{"plait\[placement-mismatch\]"}}
}
#else
void f(plait::context& c, const sum& x) {
  use(plait::redistribute<plait::layout<node>>(c, x));
}
#endif
