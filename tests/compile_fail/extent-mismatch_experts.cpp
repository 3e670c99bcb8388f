// Rows of width 8 into experts of input width 16.
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using rows = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
template <int In>
using experts = plait::tensor<float, plait::extents<4, 16, In>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const plait::dispatched<rows>& d, const experts<16>& w) {
  return plait::grouped_linear(c, d, w);  // expected-error {{"plait\[extent-mismatch\]"}}
}
#else
auto y(plait::context& c, const plait::dispatched<rows>& d, const experts<8>& w) {
  return plait::grouped_linear(c, d, w);
}
#endif
