// A vector is no weight of a linear layer.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using tokens = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
using weight = plait::tensor<float, plait::extents<8>, plait::layout<node>>;
auto y(plait::context& c, const tokens& x, const weight& w) {
  return plait::linear(c, x, w);  // expected-error {{"plait\[extent-mismatch\]"}}
}
#else
using weight = plait::tensor<float, plait::extents<8, 8>, plait::layout<node>>;
auto y(plait::context& c, const tokens& x, const weight& w) {
  return plait::linear(c, x, w);
}
#endif
