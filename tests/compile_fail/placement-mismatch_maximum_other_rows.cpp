// Rows cut by batch, their maximum by sequence: each row would be shifted by another row's maximum.
#include "plait/ops/loss.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
template <int D>
using cut = plait::layout<node, plait::on<tp, plait::Shard<D>>>;
using logits = plait::tensor<float, plait::extents<dyn, dyn, 16>, cut<0>>;
using labels = plait::tensor<std::int64_t, plait::extents<dyn, dyn>, cut<0>>;
#ifdef PLAIT_EXPECT_FAIL
using maximum = plait::tensor<float, plait::extents<dyn, dyn>, cut<1>>;
#else
using maximum = plait::tensor<float, plait::extents<dyn, dyn>, cut<0>>;
#endif
auto parts(plait::context& c, const logits& x, const maximum& m, const labels& l) {
  return plait::cross_entropy_parts(c, x, m, l);  // expected-error {{"plait\[placement-mismatch\]"}}
}
