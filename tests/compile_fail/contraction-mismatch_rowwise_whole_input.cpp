// A weight cut by its input dim, an input that is whole: each rank would need its own piece of the input.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using whole = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
using weight = plait::tensor<float, plait::extents<8, 8>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const whole& x, const weight& w) {
  return plait::linear(c, x, w);  // expected-error {{"plait\[contraction-mismatch\]"}}
}
#else
auto y(plait::context& c, const whole& x, const weight& w) {
  return plait::linear(c, plait::redistribute<plait::layout<node, plait::on<tp, plait::Shard<1>>>>(c, x), w);
}
#endif
