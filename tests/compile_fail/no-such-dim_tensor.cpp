// A matrix cut by its third dim would be whole on every rank while its type says that it is cut.
#include "plait/plait.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
template <int D>
using cut = plait::layout<node, plait::on<tp, plait::Shard<D>>>;
#ifdef PLAIT_EXPECT_FAIL
using weight = plait::sharded<float, plait::extents<16, 16>, cut<2>>;
#else
using weight = plait::sharded<float, plait::extents<16, 16>, cut<1>>;
#endif
static_assert(weight::rank == 2);  // expected-error {{"plait\[no-such-dim\]"}}
