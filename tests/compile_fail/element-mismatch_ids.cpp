// Token ids of 32 bits, read as 64.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
#ifdef PLAIT_EXPECT_FAIL
using ids = plait::tensor<std::int32_t, plait::extents<dyn, dyn>, plait::layout<node>>;
#else
using ids = plait::tensor<std::int64_t, plait::extents<dyn, dyn>, plait::layout<node>>;
#endif
auto x(plait::context& c, const ids& i, const plait::tensor<float, plait::extents<32, 8>, plait::layout<node>>& table) {
  return plait::embedding(c, i, table);  // expected-error {{"plait\[element-mismatch\]"}}
}
