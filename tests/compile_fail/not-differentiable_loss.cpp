// A loss taken from a maximum that still is one per rank.
#include "plait/ops/loss.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using maximum = plait::tensor<float, plait::extents<2, dyn, dyn>, plait::layout<node, plait::on<tp, plait::PartialMax>>>;
using labels = plait::tensor<std::int64_t, plait::extents<dyn, dyn>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto loss(plait::context& c, const maximum& parts, const labels& l) {
  return plait::cross_entropy_sum(c, parts, l, 1.0);  // expected-error {{"plait\[not-differentiable\]"}}
}
#else
auto loss(plait::context& c, const maximum& parts, const labels& l) {
  return plait::cross_entropy_sum(c, plait::redistribute<plait::layout<node, plait::on<tp, plait::Invariant>>>(c, parts),
      l, 1.0);
}
#endif
