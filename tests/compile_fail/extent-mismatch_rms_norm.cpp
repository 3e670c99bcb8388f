// A norm over 8 columns with a weight of 16: of a longer weight, 8 entries would be used in silence.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using x_type = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
template <int Width>
using weight = plait::tensor<float, plait::extents<Width>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const x_type& x, const weight<16>& w) {
  return plait::rms_norm(c, x, w, 1e-6);  // expected-error {{"plait\[extent-mismatch\]"}}
}
#else
auto y(plait::context& c, const x_type& x, const weight<8>& w) {
  return plait::rms_norm(c, x, w, 1e-6);
}
#endif
