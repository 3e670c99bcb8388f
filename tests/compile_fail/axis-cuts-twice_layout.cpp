// One axis cannot cut two dims of one tensor: rank i would hold only the i-th diagonal block.
#include "plait/plait.hpp"

struct tp : plait::axis<2> {};
struct cp : plait::axis<2> {};
struct node : plait::mesh<cp, tp> {};

#ifdef PLAIT_EXPECT_FAIL
using both = plait::layout<node, plait::on<tp, plait::Shard<0>>, plait::on<tp, plait::Shard<1>>>;  // expected-error {{"plait\[axis-cuts-twice\]"}}
#else
using both = plait::layout<node, plait::on<cp, plait::Shard<0>>, plait::on<tp, plait::Shard<1>>>;
#endif

using x = plait::sharded<float, plait::extents<8, 8>, both>;
constexpr int kept = x::local_extent(0);
