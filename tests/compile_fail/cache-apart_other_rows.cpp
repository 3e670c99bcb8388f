// Values of all rows appended to a cache of the rows of one data rank.
#include "plait/ops/sequence.hpp"

struct dp : plait::axis<2> {};
struct node : plait::mesh<dp> {};
using plait::dyn;
using cut_rows = plait::layout<node, plait::on<dp, plait::Shard<0>>>;
using values = plait::tensor<float, plait::extents<dyn, dyn, 4, 8>, cut_rows>;
#ifdef PLAIT_EXPECT_FAIL
using fresh = plait::tensor<float, plait::extents<dyn, dyn, 4, 8>, plait::layout<node>>;
#else
using fresh = values;
#endif
void remember(plait::context& c, plait::runtime::growing_sequence& memory, const fresh& v) {
  plait::append(c, plait::sequence_cache<values>(memory), v);  // expected-error {{"plait\[cache-apart\]"}}
}
