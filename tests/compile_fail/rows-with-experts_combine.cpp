// Rows that were sent to their experts are combined there, although their tokens are on other ranks.
#include "plait/ops/exchange.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using cut = plait::layout<node, plait::on<tp, plait::Shard<1>>>;
using tokens = plait::tensor<float, plait::extents<dyn, dyn, 8>, cut>;
using routed = plait::routing<float, cut, 3>;
using experts = plait::tensor<float, plait::extents<4, 8, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
auto y(plait::context& c, const tokens& x, const routed& r, const experts& w) {
  const auto rows = plait::grouped_linear(c, plait::to_experts(c, plait::dispatch(c, x, r, w)), w);
#ifdef PLAIT_EXPECT_FAIL
  return plait::combine(c, rows, r, x);  // expected-error {{"plait\[rows-with-experts\]"}}
#else
  return plait::combine(c, plait::to_tokens(c, rows), r, x);
#endif
}
