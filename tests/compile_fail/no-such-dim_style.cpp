// A style of one's own that moves its output to a dim of a larger tensor.
#include "plait/ops/styled.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
#ifdef PLAIT_EXPECT_FAIL
struct mine : plait::style<tp, plait::Shard<-1>, plait::Invariant, plait::Shard<-1>, plait::becomes<plait::Shard<3>>> {};
#else
struct mine : plait::style<tp, plait::Shard<-1>, plait::Invariant, plait::Shard<-1>, plait::becomes<plait::Shard<1>>> {};
#endif
template <int D>
using cut = plait::layout<node, plait::on<tp, plait::Shard<D>>>;
using weight = plait::tensor<float, plait::extents<8, 16>, cut<1>>;
auto y(plait::context& c, const plait::tensor<float, plait::extents<dyn, dyn, 16>, cut<2>>& x, const plait::styled<mine, weight>& w) {
  return plait::project(c, x, w);  // expected-error {{"plait\[no-such-dim\]"}}
}
