// Dispatched rows meet their experts' weights by project_experts.
#include "plait/ops/experts.hpp"
#include "plait/style/experts.hpp"

struct ep : plait::axis<2> {};
struct node : plait::mesh<ep> {};
using plait::dyn;
using cut = plait::layout<node, plait::on<ep, plait::Shard<0>>>;
using rows = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<ep, plait::Ragged>>>;
using weight = plait::styled<plait::grouped_gemm<ep>, plait::tensor<float, plait::extents<4, 16, 8>, cut>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const plait::dispatched<rows>& x, const weight& w) {
  return plait::project(c, x, w);  // expected-error {{"plait\[styled-operands\]"}}
}
#else
auto y(plait::context& c, const plait::dispatched<rows>& x, const weight& w) {
  return plait::project_experts(c, x, w);
}
#endif
