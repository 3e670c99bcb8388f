// A norm weight that is Invariant over rows cut by sequence: its gradient would miss the sum over the ranks
// (what upstream's tensor-parallel norms lost under sequence parallelism).
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using rows = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
template <class Placement>
using weight = plait::tensor<float, plait::extents<8>, plait::layout<node, plait::on<tp, Placement>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const rows& x, const weight<plait::Invariant>& w) {
  return plait::rms_norm(c, x, w, 1e-6);  // expected-error {{"plait\[invariant-mixed\]"}}
}
#else
auto y(plait::context& c, const rows& x, const weight<plait::Replicate>& w) {
  return plait::rms_norm(c, x, w, 1e-6);
}
#endif
