// A rule for layer 3 alone leaves the other layers without one.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {
      {"layers.*.q_proj.weight", {16, 16}, plait::unit(0, 4)},
      {"layers.*.o_proj.weight", {16, 16}, plait::unit(1, 4)},
  };
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.3.q_proj", plait::colwise<tp>>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[uncovered-parameter\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.3.q_proj", plait::colwise<tp>>,
    plait::rule<"layers.*.q_proj", plait::colwise<tp>>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
