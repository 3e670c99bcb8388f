// An adapter product (low rank: B times A) of which both factors are pending sums.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
using weight = plait::tensor<float, plait::extents<8, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const sum& x, const weight& w) {
  return plait::linear(c, x, w);  // expected-error {{"plait\[partial-times-partial\]"}}
}
#else
auto y(plait::context& c, const sum& x, const weight& w) {
  return plait::linear(c, plait::redistribute<plait::layout<node>>(c, x), w);
}
#endif
