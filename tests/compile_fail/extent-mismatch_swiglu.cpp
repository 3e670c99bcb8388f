// A gate and an up projection of other widths.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
template <int Width>
using value = plait::tensor<float, plait::extents<dyn, Width>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
using up = value<16>;
#else
using up = value<32>;
#endif
auto y(plait::context& c, const value<32>& gate, const up& u) {
  return plait::swiglu(c, gate, u);  // expected-error {{"plait\[extent-mismatch\]"}}
}
