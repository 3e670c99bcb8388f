// Labels of 32 bits: read as 64 they would be other labels, two at a time.
#include "plait/ops/loss.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using logits = plait::tensor<float, plait::extents<dyn, 16>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
using labels = plait::tensor<std::int32_t, plait::extents<dyn>, plait::layout<node>>;
#else
using labels = plait::tensor<std::int64_t, plait::extents<dyn>, plait::layout<node>>;
#endif
auto parts(plait::context& c, const logits& x, const labels& l) {
  return plait::cross_entropy_parts(c, x, plait::row_maximum(c, x), l);  // expected-error {{"plait\[element-mismatch\]"}}
}
