// An activation point that the table does not have.
#include "plait/plait.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"layers.*.up.weight", {16, 16}}};
  static constexpr plait::activation_point activations[] = {{"layers.*.mlp", 3}};
};
struct my_plan : plait::plan<node, plait::parameters<plait::rule<"layers.*.up", plait::colwise<tp>>>,
                             plait::activations<plait::activation<"layers.*.mlp">>> {};
static_assert(plait::covers<my_plan, model>);

#ifdef PLAIT_EXPECT_FAIL
using region = plait::activation_layout_t<my_plan, model, plait::point_of<model>("layers.*.ffn")>;  // expected-error {{"plait\[no-such-row\]"}}
#else
using region = plait::activation_layout_t<my_plan, model, plait::point_of<model>("layers.*.mlp")>;
#endif
static_assert(std::is_same_v<region, plait::layout<node>>);
