// Names that torch.nn.Sequential gives: 0 and 2 are not layers, but a rule for one would be taken for a rule of that layer.
#include "plait/plait.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};

#ifdef PLAIT_EXPECT_FAIL
struct model {
  static constexpr plait::parameter parameters[] = {{"layers.*.mlp.0.weight", {16, 16}}, {"layers.*.mlp.2.weight", {16, 16}}};
};
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.mlp.0", plait::colwise<tp>>, plait::rule<"layers.*.mlp.2", plait::rowwise<tp>>>> {};
#else
struct model {
  static constexpr plait::parameter parameters[] = {{"layers.*.mlp.up.weight", {16, 16}}, {"layers.*.mlp.down.weight", {16, 16}}};
};
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.mlp.up", plait::colwise<tp>>, plait::rule<"layers.*.mlp.down", plait::rowwise<tp>>>> {};
#endif
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[layer-number\]"}}
