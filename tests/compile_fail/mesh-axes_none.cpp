// A mesh without axes. One process is a mesh of one axis of size 1.
#include "plait/plait.hpp"

struct only : plait::axis<1> {};
#ifdef PLAIT_EXPECT_FAIL
struct node : plait::mesh<> {};  // expected-error {{"plait\[mesh-axes\]"}}
constexpr int atoms = node::atoms;
#else
struct node : plait::mesh<only> {};
constexpr int atoms = node::atoms;
#endif
