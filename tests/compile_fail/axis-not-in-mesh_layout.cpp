// A layout over an axis of another mesh.
#include "plait/plait.hpp"

struct tp : plait::axis<2> {};
struct ep : plait::axis<2> {};
struct node : plait::mesh<tp> {};

#ifdef PLAIT_EXPECT_FAIL
using experts = plait::layout<node, plait::on<ep, plait::Shard<0>>>;  // expected-error {{"plait\[axis-not-in-mesh\]"}}
#else
using experts = plait::layout<node, plait::on<tp, plait::Shard<0>>>;
#endif

constexpr int cuts = experts::value.cuts;
