// tp cuts dim 0, dp cuts each piece again. An all-gather over tp now would join pieces that are not neighbours.
#include "plait/ops/redistribute.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};
using nested = plait::layout<node, plait::on<tp, plait::Shard<0>>, plait::on<dp, plait::Shard<0>>>;
using over_tp = plait::layout<node, plait::on<tp, plait::Shard<0>>>;
using over_dp = plait::layout<node, plait::on<dp, plait::Shard<0>>>;
using weight = plait::tensor<float, plait::extents<8, 8>, nested>;

#ifdef PLAIT_EXPECT_FAIL
auto whole_over_tp(plait::context& c, const weight& w) {
  return plait::redistribute<over_dp>(c, w);  // expected-error {{"plait\[not-innermost\]"}}
}
#else
auto whole_over_dp(plait::context& c, const weight& w) {
  return plait::redistribute<over_tp>(c, w);
}
#endif
