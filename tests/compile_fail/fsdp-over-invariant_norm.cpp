// A norm that does identical work on the ranks over which FSDP would share it out.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"norm.weight", {16}}};
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<plait::rule<"norm", plait::replicated<dp>>>,
    plait::activations<>, plait::everywhere<plait::fsdp<dp>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[fsdp-over-invariant\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<plait::rule<"norm", plait::replicated<tp>>>,
    plait::activations<>, plait::everywhere<plait::fsdp<dp>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
