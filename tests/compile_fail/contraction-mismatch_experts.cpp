// Rows of whole hidden width into a down projection cut by its input dim.
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using whole = plait::tensor<float, plait::extents<dyn, 16>, plait::layout<node>>;
using columns = plait::tensor<float, plait::extents<dyn, 16>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
using down = plait::tensor<float, plait::extents<4, 8, 16>, plait::layout<node, plait::on<tp, plait::Shard<2>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const plait::dispatched<whole>& d, const down& w) {
  return plait::grouped_linear(c, d, w);  // expected-error {{"plait\[contraction-mismatch\]"}}
}
#else
auto y(plait::context& c, const plait::dispatched<columns>& d, const down& w) {
  return plait::grouped_linear(c, d, w);
}
#endif
