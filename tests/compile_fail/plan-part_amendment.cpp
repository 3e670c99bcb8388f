// An amendment by a rule that stands in no list: it would change nothing.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"layers.*.q_proj.weight", {16, 16}}, {"layers.*.o_proj.weight", {16, 16}}};
};

struct base : plait::plan<node, plait::parameters<plait::rule<"layers.*.q_proj", plait::colwise<tp>>, plait::rule<"layers.*.o_proj", plait::replicated<tp>>>> {};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::amend<base, plait::rule<"layers.*.o_proj", plait::rowwise<tp>>> {};  // expected-error {{"plait\[plan-part\]"}}
#else
struct my_plan : plait::amend<base, plait::parameters<plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
