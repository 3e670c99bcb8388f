// A region is entered with a layout, not with the axis on which it differs.
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using same = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Invariant>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, same x) {
  return plait::enter<tp>(c, std::move(x));  // expected-error {{"plait\[not-a-layout\]"}}
}
#else
auto y(plait::context& c, same x) {
  return plait::enter<plait::layout<node>>(c, std::move(x));
}
#endif
