// Rows dispatched for the entered tokens, combined as if they were the sequence-cut stream's.
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
template <class Layout, int... E>
using t = plait::tensor<float, plait::extents<E...>, Layout>;
using whole = plait::layout<node>;
using by_expert = plait::layout<node, plait::on<tp, plait::Shard<0>>>;
using entered = t<whole, dyn, dyn, 8>;
using stream = t<plait::layout<node, plait::on<tp, plait::Shard<1>>>, dyn, dyn, 8>;
using routed = plait::routing<float, whole, 3>;
auto y(plait::context& c, const entered& h, const stream& x, const routed& r, const t<by_expert, 4, 8, 8>& w) {
  const auto rows = plait::grouped_linear(c, plait::dispatch(c, h, r, w), w);
#ifdef PLAIT_EXPECT_FAIL
  return plait::combine(c, rows, r, x);  // expected-error {{"plait\[experts-apart\]"}}
#else
  static_cast<void>(x);
  return plait::combine(c, rows, r, h);
#endif
}
