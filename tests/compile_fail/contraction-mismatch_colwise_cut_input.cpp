// The output of one colwise linear into another colwise linear.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using whole = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
using weight = plait::tensor<float, plait::extents<8, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const whole& x, const weight& first, const weight& second) {
  return plait::linear(c, plait::linear(c, x, first), second);  // expected-error {{"plait\[contraction-mismatch\]"}}
}
#else
auto y(plait::context& c, const whole& x, const weight& first, const weight& second) {
  return plait::linear(c, plait::redistribute<plait::layout<node>>(c, plait::linear(c, x, first)), second);
}
#endif
