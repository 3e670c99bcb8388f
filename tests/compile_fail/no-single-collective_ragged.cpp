// The rows that ranks hold for their experts are no known tensor: nothing gathers or sums them but combine, which knows whose they are.
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using whole = plait::layout<node>;
using ragged = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Ragged>>>;
using tokens = plait::tensor<float, plait::extents<dyn, 8>, whole>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const ragged& x) {
  return plait::redistribute<whole>(c, x);  // expected-error {{"plait\[no-single-collective\]"}}
}
#else
auto y(plait::context& c, const plait::dispatched<ragged>& d, const plait::routing<float, whole, 2>& r, const tokens& x) {
  return plait::redistribute<whole>(c, plait::combine(c, d, r, x));
}
#endif
