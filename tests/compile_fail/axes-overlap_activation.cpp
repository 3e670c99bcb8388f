// An activation rule that cuts the batch over the data ranks, and the sequence over experts' ranks that include some of them.
#include "plait/plait.hpp"

struct outer : plait::axis<2> {};
struct inner : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<outer, inner, tp> {};
struct data : plait::axis_view<outer, inner> {};
struct ep : plait::axis_view<inner, tp> {};

struct plan : plait::plan<node, plait::parameters<>,
#ifdef PLAIT_EXPECT_FAIL
    plait::activations<plait::activation<"mlp", plait::on<data, plait::Shard<0>>, plait::on<ep, plait::Shard<1>>>>> {};  // expected-error {{"plait\[axes-overlap\]"}}
#else
    plait::activations<plait::activation<"mlp", plait::on<data, plait::Shard<0>>, plait::on<tp, plait::Shard<1>>>>> {};
#endif

constexpr int cuts = plan::point_layout[0].cuts;
