// The residual stream of one layer, which is that of all.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"layers.*.q_proj.weight", {16, 16}}, {"layers.*.o_proj.weight", {16, 16}}};
  static constexpr plait::activation_point activations[] = {{"layers.*", 3, plait::one_for_all_layers{}}, {"layers.*.mlp", 3}};
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.q_proj", plait::colwise<tp>>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>,
    plait::activations<
        plait::activation<"layers.*", plait::on<dp, plait::Shard<0>>>,
        plait::activation<"layers.0", plait::on<dp, plait::Shard<0>>, plait::on<tp, plait::Shard<1>>>,
        plait::activation<"layers.*.mlp", plait::on<dp, plait::Shard<0>>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[one-for-all-layers\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.q_proj", plait::colwise<tp>>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>>,
    plait::activations<
        plait::activation<"layers.*", plait::on<dp, plait::Shard<0>>>,
        plait::activation<"layers.*.mlp", plait::on<dp, plait::Shard<0>>>,
        plait::activation<"layers.0.mlp", plait::on<dp, plait::Shard<0>>, plait::on<tp, plait::Shard<1>>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
