// A rule with two numbers: the second would be the layer's.
#include "plait/plait.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"layers.*.mlp.weight", {16, 16}}};
};
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.mlp", plait::colwise<tp>>,
#ifdef PLAIT_EXPECT_FAIL
    plait::rule<"layers.3.mlp.5", plait::rowwise<tp>>>> {};
#else
    plait::rule<"layers.3.mlp", plait::rowwise<tp>>>> {};
#endif
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[layer-number\]"}}
