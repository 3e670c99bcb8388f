// The bias of a rowwise linear added before its reduction is counted once per rank.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using columns = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
using weight = plait::tensor<float, plait::extents<8, 8>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
using bias = plait::tensor<float, plait::extents<8>, plait::layout<node, plait::on<tp, plait::Invariant>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const columns& x, const weight& w, const bias& b) {
  return plait::bias_add(c, plait::linear(c, x, w), b);  // expected-error {{"plait\[partial-plus-replicate\]"}}
}
#else
auto y(plait::context& c, const columns& x, const weight& w, const bias& b) {
  return plait::bias_add(c, plait::redistribute<plait::layout<node, plait::on<tp, plait::Invariant>>>(c, plait::linear(c,
      x, w)), b);
}
#endif
