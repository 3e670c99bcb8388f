// A layout that counts from the end: it does not know of how many dims.
#include "plait/plait.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
#ifdef PLAIT_EXPECT_FAIL
using cut = plait::layout<node, plait::on<tp, plait::Shard<-1>>>;  // expected-error {{"plait\[no-such-dim\]"}}
#else
using cut = plait::layout<node, plait::on<tp, plait::Shard<1>>>;
#endif
static_assert(cut::value.cuts == 1);
