// A style of one's own whose author forgot where the bias lies.
#include "plait/plait.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
struct model {
  static constexpr plait::parameter parameters[] = {{"proj.weight", {16, 16}}};
};
struct mine {
  using axis = tp;
  using weight = plait::Shard<-2>;
#ifndef PLAIT_EXPECT_FAIL
  using bias = plait::Shard<0>;
#endif
  using input = plait::Replicate;
  using output = plait::stays<plait::Shard<-1>>;
};
struct my_plan : plait::plan<node, plait::parameters<plait::rule<"proj", mine>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"has an axis and four placements"}}
