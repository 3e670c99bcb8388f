// Ids cut by sequence over the axis that also cuts the vocabulary: each id would meet one part of the table only.
#include "plait/ops/dense.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using table = plait::tensor<float, plait::extents<16, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
using cut_ids = plait::tensor<std::int64_t, plait::extents<dyn, dyn>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
using ids = plait::tensor<std::int64_t, plait::extents<dyn, dyn>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const cut_ids& i, const table& w) {
  return plait::embedding(c, i, w);  // expected-error {{"plait\[axis-cuts-twice\]"}}
}
#else
auto y(plait::context& c, const ids& i, const table& w) {
  return plait::redistribute<plait::layout<node, plait::on<tp, plait::Shard<1>>>>(c, plait::embedding(c, i, w));
}
#endif
