// A float norm weight on bfloat16 activations: cast the weight once, or keep the norm in float.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using x_type = plait::tensor<plait::bfloat16, plait::extents<dyn, 8>, plait::layout<node>>;
template <class Element>
using weight = plait::tensor<Element, plait::extents<8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const x_type& x, const weight<float>& w) {
  return plait::rms_norm(c, x, w, 1e-6);  // expected-error {{"plait\[element-mismatch\]"}}
}
#else
auto y(plait::context& c, const x_type& x, const weight<plait::bfloat16>& w) {
  return plait::rms_norm(c, x, w, 1e-6);
}
#endif
