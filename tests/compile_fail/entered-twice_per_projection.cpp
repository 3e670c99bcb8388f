// q, k and v each enter the same value on their own: three all-reduces in backward where one is enough.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using stream = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Invariant>>>;
using weight = plait::tensor<float, plait::extents<8, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
using inside = plait::layout<node>;
#ifdef PLAIT_EXPECT_FAIL
void f(plait::context& c, const stream& x, const weight& q, const weight& k, const weight& v) {
  plait::linear(c, plait::enter<inside>(c, x), q);  // expected-error {{"plait\[entered-twice\]"}}
  plait::linear(c, plait::enter<inside>(c, x), k);
  plait::linear(c, plait::enter<inside>(c, x), v);
}
#else
void f(plait::context& c, stream x, const weight& q, const weight& k, const weight& v) {
  const auto h = plait::enter<inside>(c, std::move(x));
  plait::linear(c, h, q);
  plait::linear(c, h, k);
  plait::linear(c, h, v);
}
#endif
