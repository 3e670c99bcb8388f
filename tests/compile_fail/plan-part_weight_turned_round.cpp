// The model named where the plan belongs.
#include "plait/ops/leaf.hpp"
#include "plait/style/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
struct model {
  static constexpr plait::parameter parameters[] = {{"up.weight", {16, 16}}};
};
struct my_plan : plait::plan<node, plait::parameters<plait::rule<"up", plait::colwise<tp>>>> {};
struct slots {
  int slot(int, int) { return 0; }
  plait::array compute_array(int) { return {}; }
};
#ifdef PLAIT_EXPECT_FAIL
auto up(slots& s) { return plait::weight<model, my_plan, "up.weight">(s); }  // expected-error {{"plait\[plan-part\]"}}
#else
auto up(slots& s) { return plait::weight<my_plan, model, "up.weight">(s); }
#endif
