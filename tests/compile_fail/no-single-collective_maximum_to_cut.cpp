// There is no reduce-scatter of maxima.
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using maximum = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::PartialMax>>>;
using whole = plait::layout<node>;
using cut = plait::layout<node, plait::on<tp, plait::Shard<0>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const maximum& x) {
  return plait::redistribute<cut>(c, x);  // expected-error {{"plait\[no-single-collective\]"}}
}
#else
auto y(plait::context& c, const maximum& x) {
  return plait::redistribute<cut>(c, plait::redistribute<whole>(c, x));
}
#endif
