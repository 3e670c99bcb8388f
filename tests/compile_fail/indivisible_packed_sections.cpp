// A packed dim of 2 x 6: each section must divide by the four ranks, not their sum.
#include "plait/plait.hpp"

struct two : plait::axis<2> {};
struct other : plait::axis<2> {};
struct node : plait::mesh<two, other> {};
struct four : plait::axis_view<two, other> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"gate_up_proj.weight", {12, 16}, plait::packed(0, 2)}};
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"gate_up_proj", plait::packed_colwise<four>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[indivisible\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"gate_up_proj", plait::packed_colwise<two>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
