// Heads are cut, their sinks are not: a rank would take those of other heads.
#include "plait/ops/attention.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using heads = plait::tensor<float, plait::extents<dyn, dyn, dyn, 8>, plait::layout<node, plait::on<tp, plait::Shard<2>>>>;
using starts = plait::tensor<std::int32_t, plait::extents<dyn, dyn>, plait::layout<node>>;
template <class Layout>
using sinks = plait::tensor<float, plait::extents<8>, Layout>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const heads& q, const starts& s, const sinks<plait::layout<node>>& t) {
  return plait::attention(c, q, q, q, s, 1.0, t);  // expected-error {{"plait\[placement-mismatch\]"}}
}
#else
auto y(plait::context& c, const heads& q, const starts& s, const sinks<plait::layout<node, plait::on<tp, plait::Shard<0>>>>& t) {
  return plait::attention(c, q, q, q, s, 1.0, t);
}
#endif
