// The other direction: a new cut may only be added inside the cuts that are there.
#include "plait/ops/redistribute.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};
using over_tp = plait::layout<node, plait::on<tp, plait::Shard<0>>>;
using dp_outside = plait::layout<node, plait::on<dp, plait::Shard<0>>, plait::on<tp, plait::Shard<0>>>;
using dp_inside = plait::layout<node, plait::on<tp, plait::Shard<0>>, plait::on<dp, plait::Shard<0>>>;
using weight = plait::tensor<float, plait::extents<8, 8>, over_tp>;

#ifdef PLAIT_EXPECT_FAIL
auto stored(plait::context& c, const weight& w) {
  return plait::redistribute<dp_outside>(c, w);  // expected-error {{"plait\[not-innermost\]"}}
}
#else
auto stored(plait::context& c, const weight& w) {
  return plait::redistribute<dp_inside>(c, w);
}
#endif
