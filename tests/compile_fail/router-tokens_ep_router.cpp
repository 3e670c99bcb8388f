// Tokens that stay on their ranks, and the router of experts to which they are gathered.
#include "plait/model/dispatch_plan.hpp"
#include "plait/model/mixtral.hpp"

using namespace plait;

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : amend<mixtral_sp_ep, own_tokens> {};
#else
struct my_plan : amend<mixtral_sp_ep, own_tokens, parameters<rule<"model.layers.*.mlp.gate", dispatch_router<tp>>>> {};
#endif
static_assert(covers<my_plan, mixtral>);  // expected-error {{"plait\[router-tokens\]"}}
