// Columns taken apart where an axis cuts them: each rank would take the first of its own.
#include "plait/ops/heads.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
template <int D>
using cut = plait::layout<node, plait::on<tp, plait::Shard<D>>>;
#ifdef PLAIT_EXPECT_FAIL
using latent = plait::tensor<float, plait::extents<dyn, dyn, 24>, cut<2>>;
#else
using latent = plait::tensor<float, plait::extents<dyn, dyn, 24>, cut<1>>;
#endif
auto y(plait::context& c, const latent& x) {
  return plait::split_columns(c, x, 16);  // expected-error {{"plait\[row-cut\]"}}
}
