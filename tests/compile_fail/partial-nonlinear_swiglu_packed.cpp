// silu(gate) * up over packed [gate | up], both still pending sums.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const sum& packed) {
  return plait::swiglu(c, packed);  // expected-error {{"plait\[partial-nonlinear\]"}}
}
#else
auto y(plait::context& c, const sum& packed) {
  return plait::swiglu(c, plait::redistribute<plait::layout<node, plait::on<tp, plait::StridedShard<1, 2>>>>(c, packed));
}
#endif
