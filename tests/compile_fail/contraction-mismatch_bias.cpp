// A whole bias onto an output cut in its last dim: every rank would add the bias of the first columns.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using columns = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
using bias = plait::tensor<float, plait::extents<8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const columns& x, const bias& b) {
  return plait::bias_add(c, x, b);  // expected-error {{"plait\[contraction-mismatch\]"}}
}
#else
auto y(plait::context& c, const columns& x, const bias& b) {
  return plait::bias_add(c, x, plait::redistribute<plait::layout<node, plait::on<tp, plait::Shard<0>>>>(c, b));
}
#endif
