// Assigning does not cast.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using wide = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
using narrow = plait::tensor<plait::bfloat16, plait::extents<dyn, 8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
wide f(const narrow& x) {
  return x;  // expected-error {{"plait\[element-mismatch\]"}}
}
#else
wide f(const wide& x) {
  return x;
}
#endif
