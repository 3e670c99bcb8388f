// Four key/value heads of 64 on eight ranks: 256 rows divide by 8, heads do not. Half a head per rank attends wrongly.
#include "plait/plait.hpp"

struct tp : plait::axis<8> {};
struct node : plait::mesh<tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {
      {"q_proj.weight", {1024, 512}, plait::unit(0, 64)},
      {"k_proj.weight", {256, 512}, plait::unit(0, 64)},
  };
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"q_proj", plait::colwise<tp>>,
    plait::rule<"k_proj", plait::colwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[indivisible\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"q_proj", plait::colwise<tp>>,
    plait::rule<"k_proj", plait::replicated_heads<tp>>>> {};  // whole; each rank takes the heads that its queries need
static_assert(plait::covers<my_plan, model>);
#endif
