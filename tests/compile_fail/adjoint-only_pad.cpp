// Shard -> Partial (the own piece among zeros) exists as the backward of a slice.
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using rows = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const rows& x) {
  return plait::redistribute<plait::layout<node, plait::on<tp, plait::Partial>>>(c, x);  // expected-error {{"plait\[adjoint-only\]"}}
}
#else
auto y(plait::context& c, const rows& x) {
  return plait::redistribute<plait::layout<node>>(c, x);
}
#endif
