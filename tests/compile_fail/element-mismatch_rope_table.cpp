// Cosines in the tensors' narrow type: they are read in the type of statistics, float.
#include "plait/ops/attention.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using heads = plait::tensor<plait::bfloat16, plait::extents<dyn, dyn, 4, 8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
using table = plait::tensor<plait::bfloat16, plait::extents<dyn, dyn, 4>, plait::layout<node>>;
#else
using table = plait::tensor<float, plait::extents<dyn, dyn, 4>, plait::layout<node>>;
#endif
auto q(plait::context& c, const heads& x, const table& cosine, const table& sine) {
  return plait::rope(c, x, cosine, sine);  // expected-error {{"plait\[element-mismatch\]"}}
}
