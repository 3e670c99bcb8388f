// ep is tp under another name: both would cut this tensor over the same ranks.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};
struct ep : plait::axis_view<tp> {};

#ifdef PLAIT_EXPECT_FAIL
using experts = plait::layout<node, plait::on<ep, plait::Shard<0>>, plait::on<tp, plait::Shard<1>>>;  // expected-error {{"plait\[axes-overlap\]"}}
#else
using experts = plait::layout<node, plait::on<ep, plait::Shard<0>>, plait::on<dp, plait::Shard<1>>>;
#endif

using weight = plait::sharded<float, plait::extents<8, 8, 4>, experts>;
constexpr int kept = weight::local_extent(0);
