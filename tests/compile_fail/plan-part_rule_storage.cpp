// An axis where a rule takes fsdp<axis>.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"layers.*.q_proj.weight", {16, 16}}, {"layers.*.o_proj.weight", {16, 16}}};
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.q_proj", plait::colwise<tp>, dp>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[plan-part\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.q_proj", plait::colwise<tp>, plait::fsdp<dp>>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
