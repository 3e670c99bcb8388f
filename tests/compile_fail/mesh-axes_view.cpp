// A view names ranks that atoms have; it is no factor of the mesh itself.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct ep : plait::axis_view<tp> {};
#ifdef PLAIT_EXPECT_FAIL
struct node : plait::mesh<dp, ep> {};  // expected-error {{"plait\[mesh-axes\]"}}
#else
struct node : plait::mesh<dp, tp> {};
#endif
static_assert(node::atoms == 2);
