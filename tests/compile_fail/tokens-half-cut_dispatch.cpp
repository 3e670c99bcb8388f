// Experts over two axes, tokens cut over one of them only: the ranks of the other would all send the same rows.
#include "plait/ops/exchange.hpp"

struct inner : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<inner, tp> {};
struct ep : plait::axis_view<inner, tp> {};
using plait::dyn;
#ifdef PLAIT_EXPECT_FAIL
using cut = plait::layout<node, plait::on<inner, plait::Shard<0>>>;
#else
using cut = plait::layout<node, plait::on<inner, plait::Shard<0>>, plait::on<tp, plait::Shard<1>>>;
#endif
using tokens = plait::tensor<float, plait::extents<dyn, dyn, 8>, cut>;
using experts = plait::tensor<float, plait::extents<4, 16, 8>, plait::layout<node, plait::on<ep, plait::Shard<0>>>>;
auto y(plait::context& c, const tokens& x, const plait::routing<float, cut, 3>& r, const experts& w) {
  return plait::dispatch(c, x, r, w);  // expected-error {{"plait\[tokens-half-cut\]"}}
}
