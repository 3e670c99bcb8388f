// Two values cut on their second axis, but of meshes that list the axes in another order: other ranks hold other pieces.
#include "plait/ops/dense.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};
struct turned : plait::mesh<tp, dp> {};
using x_type = plait::tensor<float, plait::extents<4, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
#ifdef PLAIT_EXPECT_FAIL
using y_type = plait::tensor<float, plait::extents<4, 8>, plait::layout<turned, plait::on<dp, plait::Shard<0>>>>;
#else
using y_type = x_type;
#endif
auto sum(plait::context& c, const x_type& x, const y_type& y) {
  return plait::add(c, x, y);  // expected-error {{"plait\[mesh-mismatch\]"}}
}
