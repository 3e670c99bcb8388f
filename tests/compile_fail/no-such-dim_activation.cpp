// Rows of [B, S, H] cut by a fourth dim: every rank would have all of them and count them as its own.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"proj.weight", {16, 16}}};
  static constexpr plait::activation_point activations[] = {{"proj", 3}};
};
#ifdef PLAIT_EXPECT_FAIL
using rows = plait::activation<"proj", plait::on<dp, plait::Shard<3>>>;
#else
using rows = plait::activation<"proj", plait::on<dp, plait::Shard<2>>>;
#endif
struct my_plan : plait::plan<node, plait::parameters<plait::rule<"proj", plait::colwise<tp>>>, plait::activations<rows>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[no-such-dim\]"}}
