// A float residual plus a bfloat16 projection.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using wide = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
using narrow = plait::tensor<plait::bfloat16, plait::extents<dyn, 8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const wide& x, const narrow& o) {
  return plait::add(c, x, o);  // expected-error {{"plait\[element-mismatch\]"}}
}
#else
auto y(plait::context& c, const wide& x, const wide& o) {
  return plait::add(c, x, o);
}
#endif
