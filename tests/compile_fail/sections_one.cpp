// One section is a plain Shard.
#include "plait/plait.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};

#ifdef PLAIT_EXPECT_FAIL
constexpr plait::placement_value p = plait::StridedShard<0, 1>::value;  // expected-error {{"plait\[sections\]"}}
#else
constexpr plait::placement_value p = plait::StridedShard<0, 2>::value;
#endif

static_assert(p.cuts(0));
