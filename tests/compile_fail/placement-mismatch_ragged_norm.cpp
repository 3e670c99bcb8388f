// A norm of dispatched rows: the buffer has slots that hold no row, and the weight's gradient would sum over them, too.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
#ifdef PLAIT_EXPECT_FAIL
using rows = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Ragged>>>;
#else
using rows = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::RaggedByToken>>>;
#endif
using weight = plait::tensor<float, plait::extents<8>, plait::layout<node>>;
auto y(plait::context& c, const rows& x, const weight& w) {
  return plait::rms_norm(c, x, w, 1e-6);  // expected-error {{"plait\[placement-mismatch\]"}}
}
