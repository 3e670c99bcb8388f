// Static extents that do not fit.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using x_type = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
template <int Out, int In>
using weight = plait::tensor<float, plait::extents<Out, In>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const x_type& x, const weight<8, 16>& w) {
  return plait::linear(c, x, w);  // expected-error {{"plait\[extent-mismatch\]"}}
}
#else
auto y(plait::context& c, const x_type& x, const weight<16, 8>& w) {
  return plait::linear(c, x, w);
}
#endif
