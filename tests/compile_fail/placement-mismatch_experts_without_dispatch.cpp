// Whole rows into experts that are cut by expert: without dispatch each rank would use its first expert for expert 0.
#include "plait/ops/experts.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using whole = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node>>;
using ragged = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Ragged>>>;
using experts = plait::tensor<float, plait::extents<4, 16, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const plait::dispatched<whole>& d, const experts& w) {
  return plait::grouped_linear(c, d, w);  // expected-error {{"plait\[placement-mismatch\]"}}
}
#else
auto y(plait::context& c, const plait::dispatched<ragged>& d, const experts& w) {
  return plait::grouped_linear(c, d, w);
}
#endif
