// An entry names its axis.
#include "plait/plait.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
#ifdef PLAIT_EXPECT_FAIL
using rows = plait::layout<node, plait::Shard<0>>;  // expected-error {{"plait\[not-a-layout\]"}}
#else
using rows = plait::layout<node, plait::on<tp, plait::Shard<0>>>;
#endif
