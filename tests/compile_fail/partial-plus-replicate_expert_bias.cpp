// The bias of experts cut inside, added to their pending sum as every rank has it: counted once per rank.
#include "plait/ops/expert_bias.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using rows = plait::dispatched<plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>>;
using bias = plait::tensor<float, plait::extents<4, 8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const rows& x, const bias& b) {
  return plait::bias_experts(c, x, b);  // expected-error {{"plait\[partial-plus-replicate\]"}}
}
#else
auto y(plait::context& c, const rows& x, const bias& b) {
  return plait::bias_experts(c, x, plait::pending_with(c, b, x));
}
#endif
