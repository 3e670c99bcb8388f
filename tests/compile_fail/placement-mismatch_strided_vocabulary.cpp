// An embedding table cut by sections of its vocabulary: a rank would look ids up in one range and hold two.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
#ifdef PLAIT_EXPECT_FAIL
using cut = plait::layout<node, plait::on<tp, plait::StridedShard<0, 2>>>;
#else
using cut = plait::layout<node, plait::on<tp, plait::Shard<0>>>;
#endif
using ids = plait::tensor<std::int64_t, plait::extents<dyn, dyn>, plait::layout<node>>;
auto x(plait::context& c, const ids& i, const plait::tensor<float, plait::extents<32, 8>, cut>& table) {
  return plait::embedding(c, i, table);  // expected-error {{"plait\[placement-mismatch\]"}}
}
