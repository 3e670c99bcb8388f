// The router of tokens that stay on their ranks, in layers into which they are gathered.
#include "plait/model/mixtral.hpp"
#include "plait/model/plan_parts.hpp"

using namespace plait;

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : amend<mixtral_tp_ep, parameters<rule<"model.layers.*.mlp.gate", dispatch_router<tp>>>> {};
#else
struct my_plan : amend<mixtral_tp_ep, parameters<rule<"model.layers.*.mlp.gate", ep_router<ep>>>> {};
#endif
static_assert(covers<my_plan, mixtral>);  // expected-error {{"plait\[router-tokens\]"}}
