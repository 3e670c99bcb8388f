// An axis without ranks.
#include "plait/plait.hpp"

#ifdef PLAIT_EXPECT_FAIL
struct tp : plait::axis<0> {};  // expected-error {{"plait\[axis-size\]"}}
#else
struct tp : plait::axis<plait::dyn> {};
#endif

struct node : plait::mesh<tp> {};
constexpr int size = node::sizes[0];
