// The sizes that a program runs on are no mesh type; axes of run-time size are axis<dyn>.
#include "plait/plait.hpp"
#include "plait/mesh/mesh_shape.hpp"

struct tp : plait::axis<plait::dyn> {};
struct node : plait::mesh<tp> {};
#ifdef PLAIT_EXPECT_FAIL
using rows = plait::layout<plait::mesh_shape, plait::on<tp, plait::Shard<0>>>;  // expected-error {{"plait\[not-a-layout\]"}}
#else
using rows = plait::layout<node, plait::on<tp, plait::Shard<0>>>;
#endif
