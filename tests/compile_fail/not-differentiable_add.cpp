// A maximum over the ranks that was not reduced, used as a value with a gradient.
#include "plait/ops/loss.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using columns = plait::tensor<float, plait::extents<dyn, dyn, 16>, plait::layout<node, plait::on<tp, plait::Shard<2>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto twice(plait::context& c, const columns& logits) {
  const auto m = plait::row_maximum(c, logits);
  return plait::add(c, m, m);  // expected-error {{"plait\[not-differentiable\]"}}
}
#else
auto twice(plait::context& c, const columns& logits) {
  const auto m = plait::redistribute<plait::layout<node, plait::on<tp, plait::Invariant>>>(c, plait::row_maximum(c, logits));
  return plait::add(c, m, m);
}
#endif
