// Queries that still are a pending sum: softmax is not linear.
#include "plait/ops/attention.hpp"
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, dyn, dyn, dyn>, plait::layout<node, plait::on<tp, plait::Partial>>>;
using heads = plait::layout<node, plait::on<tp, plait::Shard<2>>>;
using segments = plait::tensor<std::int32_t, plait::extents<dyn, dyn>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const sum& q, const sum& k, const sum& v, const segments& s) {
  return plait::attention(c, q, k, v, s, 1.0);  // expected-error {{"plait\[partial-nonlinear\]"}}
}
#else
auto y(plait::context& c, const sum& q, const sum& k, const sum& v, const segments& s) {
  using plait::redistribute;
  return plait::attention(c, redistribute<heads>(c, q), redistribute<heads>(c, k), redistribute<heads>(c, v), s, 1.0);
}
#endif
