// A replicated loss: backward from each of n copies would give n times the gradient.
#include "plait/ops/loss.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using loss = plait::tensor<float, plait::extents<1>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
void f(plait::context& c, const loss& l) {
  plait::backward(c, l);  // expected-error {{"plait\[loss-not-scalar-partial\]"}}
}
#else
void f(plait::context& c, const loss& l) {
  plait::backward(c, plait::redistribute<plait::layout<node, plait::on<tp, plait::Partial>>>(c, l));
}
#endif
