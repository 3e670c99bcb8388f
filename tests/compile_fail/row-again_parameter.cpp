// Two rows of one name: which is meant is nowhere said.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

#ifdef PLAIT_EXPECT_FAIL
struct model {
  static constexpr plait::parameter parameters[] = {
      {"layers.*.q_proj.weight", {16, 16}},
      {"layers.*.o_proj.weight", {16, 16}},
      {"layers.*.q_proj.weight", {8, 16}},
  };
};

struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.q_proj", plait::colwise<tp>>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[row-again\]"}}
#else
struct model {
  static constexpr plait::parameter parameters[] = {
      {"layers.*.q_proj.weight", {16, 16}, plait::layer_kind::dense},
      {"layers.*.o_proj.weight", {16, 16}},
      {"layers.*.q_proj.weight", {8, 16}, plait::layer_kind::sparse},
  };
};

struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.q_proj", plait::colwise<tp>>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
