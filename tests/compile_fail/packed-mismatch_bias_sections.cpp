// The product holds two packed tensors, its bias three: a rank's pieces are of other columns.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
template <int D, int Sections>
using packed = plait::layout<node, plait::on<tp, plait::StridedShard<D, Sections>>>;
#ifdef PLAIT_EXPECT_FAIL
using bias = plait::tensor<float, plait::extents<24>, packed<0, 3>>;
#else
using bias = plait::tensor<float, plait::extents<24>, packed<0, 2>>;
#endif
auto y(plait::context& c, const plait::tensor<float, plait::extents<dyn, 24>, packed<1, 2>>& x, const bias& b) {
  return plait::bias_add(c, x, b);  // expected-error {{"plait\[packed-mismatch\]"}}
}
