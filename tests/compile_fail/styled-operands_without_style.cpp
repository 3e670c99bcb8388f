// A weight that comes from no plan has no style to obey.
#include "plait/ops/styled.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using tokens = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
using weight = plait::tensor<float, plait::extents<8, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const tokens& x, const weight& w) {
  return plait::project(c, x, w);  // expected-error {{"plait\[styled-operands\]"}}
}
#else
auto y(plait::context& c, const tokens& x, const weight& w) {
  return plait::linear(c, x, w);
}
#endif
