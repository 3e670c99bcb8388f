// Heads of a weight [out, in] declared in a dim that it does not have: nothing would keep them whole.
#include "plait/plait.hpp"

struct tp : plait::axis<8> {};
struct node : plait::mesh<tp> {};

struct model {
#ifdef PLAIT_EXPECT_FAIL
  static constexpr plait::parameter parameters[] = {{"proj.weight", {16, 16}, plait::unit(2, 2)}};
#else
  static constexpr plait::parameter parameters[] = {{"proj.weight", {16, 16}, plait::unit(-2, 2)}};
#endif
};
struct my_plan : plait::plan<node, plait::parameters<plait::rule<"proj", plait::colwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[no-such-dim\]"}}
