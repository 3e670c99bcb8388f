// Tokens cut by sequence over the ranks that share out the experts: a rank's rows are for experts elsewhere, and were not sent there.
#include "plait/ops/exchange.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using cut = plait::layout<node, plait::on<tp, plait::Shard<1>>>;
using tokens = plait::tensor<float, plait::extents<dyn, dyn, 8>, cut>;
using routed = plait::routing<float, cut, 3>;
using experts = plait::tensor<float, plait::extents<4, 16, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
auto y(plait::context& c, const tokens& x, const routed& r, const experts& w) {
  const auto rows = plait::dispatch(c, x, r, w);
#ifdef PLAIT_EXPECT_FAIL
  return plait::grouped_linear(c, rows, w);  // expected-error {{"plait\[tokens-cut-over-experts\]"}}
#else
  return plait::grouped_linear(c, plait::to_experts(c, rows), w);
#endif
}
