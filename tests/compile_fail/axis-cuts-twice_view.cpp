// A view that names an axis twice, by way of which a style would cut over it twice.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"layers.*.q_proj.weight", {16, 16}}, {"layers.*.o_proj.weight", {16, 16}}};
};

struct both : plait::axis_view<tp, tp> {};
struct whole : plait::axis_view<dp, tp> {};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.q_proj", plait::colwise<both>>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[axis-cuts-twice\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.q_proj", plait::colwise<whole>>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
