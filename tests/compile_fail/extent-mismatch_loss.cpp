// Backward from a row of numbers: each of them would be summed.
#include "plait/ops/loss.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using same = plait::layout<node, plait::on<tp, plait::Invariant>>;
#ifdef PLAIT_EXPECT_FAIL
using loss = plait::tensor<float, plait::extents<8>, same>;
#else
using loss = plait::tensor<float, plait::extents<1>, same>;
#endif
void f(plait::context& c, const loss& l) {
  plait::backward(c, l);  // expected-error {{"plait\[extent-mismatch\]"}}
}
