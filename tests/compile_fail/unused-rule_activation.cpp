// An activation rule for a point that the model does not ask about.
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
    plait::activations<plait::activation<"stream", plait::on<tp, plait::Invariant>>,
                       plait::activation<"proj", plait::on<tp, plait::Invariant>>,
                       plait::activation<"head", plait::on<tp, plait::Invariant>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[unused-rule\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"proj", plait::colwise<tp>>>,
    plait::activations<plait::activation<"stream", plait::on<tp, plait::Invariant>>,
                       plait::activation<"proj", plait::on<tp, plait::Invariant>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
