// The weight is cut by sections, its bias by a rule of its own plainly: gate columns would get the bias of up.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {
      {"mlp.gate_up_proj.weight", {32, 16}, plait::packed(0, 2)},
      {"mlp.gate_up_proj.bias", {32}, plait::packed(0, 2)},
      {"mlp.down_proj.weight", {16, 16}},
  };
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"mlp.gate_up_proj", plait::packed_colwise<tp>>,
    plait::rule<"mlp.gate_up_proj.bias", plait::colwise<tp>>,
    plait::rule<"mlp.down_proj", plait::rowwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[packed-mismatch\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"mlp.gate_up_proj", plait::packed_colwise<tp>>,
    plait::rule<"mlp.down_proj", plait::rowwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
