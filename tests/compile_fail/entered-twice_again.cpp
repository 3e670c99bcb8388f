// A value that is inside the region enters it once more, for one projection of several.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using stream = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Invariant>>>;
using weight = plait::tensor<float, plait::extents<8, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
using inside = plait::layout<node>;
#ifdef PLAIT_EXPECT_FAIL
void f(plait::context& c, stream x, const weight& q) {
  auto h = plait::enter<inside>(c, std::move(x));
  plait::linear(c, plait::enter<inside>(c, std::move(h)), q);  // expected-error {{"plait\[entered-twice\]"}}
}
#else
void f(plait::context& c, stream x, const weight& q) {
  auto h = plait::enter<inside>(c, std::move(x));
  plait::linear(c, h, q);
}
#endif
