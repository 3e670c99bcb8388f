// Two kinds of layer, of which the first alone would count.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"layers.*.q_proj.weight", {16, 16}}, {"layers.*.o_proj.weight", {16, 16}}};
  static constexpr plait::activation_point activations[] = {{"layers.*.mlp", 3, plait::layer_kind::sparse}};
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.q_proj", plait::colwise<tp>>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>, plait::activations<plait::activation<"layers.*.mlp", plait::only<plait::layer_kind::sparse>, plait::only<plait::layer_kind::dense>, plait::on<dp, plait::Shard<0>>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[activation-entry\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.q_proj", plait::colwise<tp>>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>, plait::activations<plait::activation<"layers.*.mlp", plait::only<plait::layer_kind::sparse>, plait::on<dp, plait::Shard<0>>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
