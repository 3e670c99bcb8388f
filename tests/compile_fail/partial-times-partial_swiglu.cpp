// gate and up both straight from weights cut by rows.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Partial>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const sum& gate, const sum& up) {
  return plait::swiglu(c, gate, up);  // expected-error {{"plait\[partial-times-partial\]"}}
}
#else
auto y(plait::context& c, const sum& gate, const sum& up) {
  return plait::swiglu(c, plait::redistribute<plait::layout<node, plait::on<tp, plait::Shard<1>>>>(c, gate),
      plait::redistribute<plait::layout<node, plait::on<tp, plait::Shard<1>>>>(c, up));
}
#endif
