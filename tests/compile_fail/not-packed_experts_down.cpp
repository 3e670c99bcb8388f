// The up projection's style on the down projection, which is not packed.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {
      {"layers.*.mlp.gate.weight", {8, 16}},
      {"layers.*.mlp.experts.gate_up_proj", {8, 32, 16}, plait::packed(1, 2)},
      {"layers.*.mlp.experts.down_proj", {8, 16, 16}},
  };
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.mlp.gate", plait::router<tp>>,
    plait::rule<"layers.*.mlp.experts.gate_up_proj", plait::moe_gate_up_colwise<tp>>,
    plait::rule<"layers.*.mlp.experts.down_proj", plait::moe_gate_up_colwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[not-packed\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.mlp.gate", plait::router<tp>>,
    plait::rule<"layers.*.mlp.experts.gate_up_proj", plait::moe_gate_up_colwise<tp>>,
    plait::rule<"layers.*.mlp.experts.down_proj", plait::moe_down_rowwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
