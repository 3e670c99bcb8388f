// Gradients reduced in bfloat16 and accumulated in float: no one type for what is on the wire and where it is added.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"layers.*.up.weight", {16, 16}}};
};
#ifdef PLAIT_EXPECT_FAIL
using types = plait::precision<plait::bfloat16, plait::bfloat16, plait::bfloat16, float, float, float>;
#else
using types = plait::precision<plait::bfloat16, plait::bfloat16, float, float, float, float>;
#endif
struct my_plan : plait::plan<node, plait::parameters<plait::rule<"layers.*.up", plait::colwise<tp>>>, plait::activations<>,
                             plait::everywhere<plait::fsdp<dp>>, types> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[precision-types\]"}}
