// A maximum over the ranks that was not reduced, negated: the largest of the negated pieces is not the negated largest.
#include "plait/ops/loss.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using columns = plait::tensor<float, plait::extents<dyn, dyn, 16>, plait::layout<node, plait::on<tp, plait::Shard<2>>>>;
auto negated(plait::context& c, const columns& logits) {
  const auto m = plait::row_maximum(c, logits);
#ifdef PLAIT_EXPECT_FAIL
  return plait::scale(c, m, -1);  // expected-error {{"plait\[not-differentiable\]"}}
#else
  return plait::scale(c, plait::redistribute<plait::layout<node, plait::on<tp, plait::Invariant>>>(c, m), -1);
#endif
}
