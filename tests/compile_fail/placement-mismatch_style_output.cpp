// A style of one's own that promises an output cut in the last dim; a weight cut by its input dim gives a pending sum.
#include "plait/ops/styled.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
template <class Out>
struct mine : plait::style<tp, plait::Shard<-1>, plait::Invariant, plait::Shard<-1>, Out> {};
using columns = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<2>>>>;
template <class Out>
using weight = plait::styled<mine<Out>, plait::tensor<float, plait::extents<8, 8>, plait::layout<node, plait::on<tp,
    plait::Shard<1>>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const columns& x, const weight<plait::stays<plait::Shard<-1>>>& w) {
  return plait::project(c, x, w);  // expected-error {{"plait\[placement-mismatch\]"}}
}
#else
auto y(plait::context& c, const columns& x, const weight<plait::becomes<plait::Shard<-1>>>& w) {
  return plait::project(c, x, w);
}
#endif
