// Queries that still are a pending sum. A rotation alone is linear, but rows are rotated where heads are whole and
// reduced, since
// attention follows.
#include "plait/ops/attention.hpp"
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using sum = plait::tensor<float, plait::extents<dyn, dyn, dyn, dyn>, plait::layout<node, plait::on<tp, plait::Partial>>>;
using table = plait::tensor<float, plait::extents<dyn, dyn, dyn>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const sum& q, const table& cosine, const table& sine) {
  return plait::rope(c, q, cosine, sine);  // expected-error {{"plait\[partial-nonlinear\]"}}
}
#else
auto y(plait::context& c, const sum& q, const table& cosine, const table& sine) {
  return plait::rope(c, plait::redistribute<plait::layout<node, plait::on<tp, plait::Shard<2>>>>(c, q), cosine, sine);
}
#endif
