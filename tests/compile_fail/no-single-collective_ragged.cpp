// The rows that ranks hold for their experts are no known tensor: they can be claimed as a cut or as addends, not gathered.
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using ragged = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Ragged>>>;
using whole = plait::layout<node>;
using addends = plait::layout<node, plait::on<tp, plait::Partial>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const ragged& x) {
  return plait::redistribute<whole>(c, x);  // expected-error {{"plait\[no-single-collective\]"}}
}
#else
auto y(plait::context& c, const ragged& x) {
  return plait::redistribute<whole>(c, plait::redistribute<addends>(c, x));
}
#endif
