// A style over something that is no axis: it does not derive from plait::axis.
#include "plait/plait.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
struct model {
  static constexpr plait::parameter parameters[] = {{"proj.weight", {16, 16}}};
};
#ifdef PLAIT_EXPECT_FAIL
struct ep {};
#else
struct ep : plait::axis_view<tp> {};
#endif
struct my_plan : plait::plan<node, plait::parameters<plait::rule<"proj", plait::colwise<ep>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[axis-not-in-mesh\]"}}
