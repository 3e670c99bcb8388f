// A parameter that the table does not have.
#include "plait/plait.hpp"
#include "plait/plan/parameter_type.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"layers.*.up.weight", {16, 16}}};
};
struct my_plan : plait::plan<node, plait::parameters<plait::rule<"layers.*.up", plait::colwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);

#ifdef PLAIT_EXPECT_FAIL
using up = plait::sharded_t<my_plan, model, "layers.0.up.weight", float>;  // expected-error {{"plait\[no-such-row\]"}}
#else
using up = plait::sharded_t<my_plan, model, "layers.*.up.weight", float>;
#endif
static_assert(up::rank == 2);
