// Losses per row, cut by rows and never summed over the ranks: each rank would be differentiated on its own rows only.
#include "plait/ops/loss.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using rows = plait::tensor<float, plait::extents<dyn>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
using parts = plait::tensor<float, plait::extents<2, dyn>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
using labels = plait::tensor<std::int64_t, plait::extents<dyn>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
#ifdef PLAIT_EXPECT_FAIL
void f(plait::context& c, const rows& loss) {
  plait::backward(c, loss);  // expected-error {{"plait\[loss-not-scalar-partial\]"}}
}
#else
void f(plait::context& c, const parts& p, const labels& l) {
  plait::backward(c, plait::cross_entropy_sum(c, p, l, 1.0));  // Partial: a sum over the ranks' rows
}
#endif
