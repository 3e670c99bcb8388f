// A parameter's rule says nothing about the activation that enters its module, though both are called "proj".
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"proj.weight", {16, 16}}};
  static constexpr plait::activation_point activations[] = {{"stream", 3}, {"proj", 3}};
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"proj", plait::colwise<tp>>>,
    plait::activations<plait::activation<"stream">>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[uncovered-activation\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"proj", plait::colwise<tp>>>,
    plait::activations<plait::activation<"stream">, plait::activation<"proj">>> {};
static_assert(plait::covers<my_plan, model>);
#endif
