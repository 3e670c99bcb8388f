// A loss over rows that are cut, printed from a rank's memory: its own rows' share, which looks like a loss.
#include "plait/ops/values.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using loss = plait::tensor<float, plait::extents<1>, plait::layout<node, plait::on<tp, plait::Partial>>>;
#ifdef PLAIT_EXPECT_FAIL
float f(plait::context&, const loss& l) {
  return *l.local();  // expected-error {{"plait\[pending-read\]"}}
}
#else
float f(plait::context& c, const loss& l) {
  return plait::value_of(c, l);  // reduced, on every rank
}
#endif
