// A norm over a dim that an axis cuts: each rank would divide by the mean of its own columns (what full-width q/k norms
// after a colwise projection did upstream).
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using columns = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<2>>>>;
using weight = plait::tensor<float, plait::extents<8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const columns& x, const weight& w) {
  return plait::rms_norm(c, x, w, 1e-6);  // expected-error {{"plait\[row-cut\]"}}
}
#else
auto y(plait::context& c, const columns& x, const weight& w) {
  return plait::rms_norm(c, plait::redistribute<plait::layout<node>>(c, x), w, 1e-6);
}
#endif
