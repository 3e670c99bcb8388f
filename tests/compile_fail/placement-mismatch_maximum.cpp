// Cross entropy over a cut vocabulary with each rank's own maximum: the exponentials could not be added.
#include "plait/ops/loss.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using columns = plait::tensor<float, plait::extents<dyn, dyn, 16>, plait::layout<node, plait::on<tp, plait::Shard<2>>>>;
using labels = plait::tensor<std::int64_t, plait::extents<dyn, dyn>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto parts(plait::context& c, const columns& logits, const labels& l) {
  return plait::cross_entropy_parts(c, logits, plait::row_maximum(c, logits), l);  // expected-error {{"plait\[placement-mismatch\]"}}
}
#else
auto parts(plait::context& c, const columns& logits, const labels& l) {
  return plait::cross_entropy_parts(c, logits, plait::redistribute<plait::layout<node, plait::on<tp, plait::Invariant>>>(c,
      plait::row_maximum(c, logits)), l);
}
#endif
