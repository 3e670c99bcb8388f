// Gate and up in turn, cut section by section: a rank would hold gates without their ups.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using cut = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::StridedShard<1, 2>>>>;
using paired = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const cut& x) {
  return plait::gated<true>(c, x, {});  // expected-error {{"plait\[packed-mismatch\]"}}
}
#else
auto y(plait::context& c, const paired& x) { return plait::gated<true>(c, x, {}); }
#endif
