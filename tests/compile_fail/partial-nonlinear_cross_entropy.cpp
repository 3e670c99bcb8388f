// Logits of a head cut by rows: a pending sum has no maximum yet, and no exponentials.
#include "plait/ops/loss.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, dyn, 16>, plait::layout<node, plait::on<tp, plait::Partial>>>;
#ifdef PLAIT_EXPECT_FAIL
auto maximum(plait::context& c, const sum& logits) {
  return plait::row_maximum(c, logits);  // expected-error {{"plait\[partial-nonlinear\]"}}
}
#else
auto maximum(plait::context& c, const sum& logits) {
  return plait::row_maximum(c, plait::redistribute<plait::layout<node, plait::on<tp, plait::Shard<2>>>>(c, logits));
}
#endif
