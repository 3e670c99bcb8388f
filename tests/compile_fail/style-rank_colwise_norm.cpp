// colwise cuts the dim before the last; a norm's weight has one dim.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {
      {"norm.weight", {16}},
      {"proj.weight", {16, 16}},
  };
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"norm", plait::colwise<tp>>,
    plait::rule<"proj", plait::colwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[style-rank\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"norm", plait::replicated<tp>>,
    plait::rule<"proj", plait::colwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
