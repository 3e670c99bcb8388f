// Replicate -> Invariant exists only as the backward of Invariant -> Partial: a value leaves a region by a reduction, not
// by a new
// name.
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using inside = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
using outside = plait::layout<node, plait::on<tp, plait::Invariant>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const inside& x) {
  return plait::redistribute<outside>(c, x);  // expected-error {{"plait\[adjoint-only\]"}}
}
#else
auto y(plait::context& c, const inside& x) {
  return plait::redistribute<outside>(c, x, plait::adjoint_only);
}
#endif
