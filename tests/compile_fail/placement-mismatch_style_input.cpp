// A rowwise projection of a whole input: its style says that the input arrives cut.
#include "plait/ops/styled.hpp"
#include "plait/style/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using whole = plait::tensor<float, plait::extents<dyn, dyn, 8>, plait::layout<node>>;
using weight = plait::styled<plait::rowwise<tp>, plait::tensor<float, plait::extents<8, 8>, plait::layout<node,
    plait::on<tp, plait::Shard<1>>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const whole& x, const weight& w) {
  return plait::project(c, x, w);  // expected-error {{"plait\[placement-mismatch\]"}}
}
#else
auto y(plait::context& c, const whole& x, const weight& w) {
  return plait::project(c, plait::redistribute<plait::layout<node, plait::on<tp, plait::Shard<2>>>>(c, x), w);
}
#endif
