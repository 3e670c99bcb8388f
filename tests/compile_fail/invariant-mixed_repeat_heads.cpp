// One key for the heads of all ranks, entered for identical work: each rank's heads would leave a gradient of their own, and no one
// would sum them.
#include "plait/ops/heads.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using by_heads = plait::layout<node, plait::on<tp, plait::Shard<2>>>;
#ifdef PLAIT_EXPECT_FAIL
using key = plait::tensor<float, plait::extents<dyn, dyn, 1, 8>, plait::layout<node, plait::on<tp, plait::Invariant>>>;
#else
using key = plait::tensor<float, plait::extents<dyn, dyn, 1, 8>, plait::layout<node>>;
#endif
auto y(plait::context& c, const key& x) {
  return plait::repeat_heads<by_heads>(c, x, 8);  // expected-error {{"plait\[invariant-mixed\]"}}
}
