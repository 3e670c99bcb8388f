// Segments of all rows beside queries whose rows are cut over the data ranks.
#include "plait/ops/attention.hpp"

struct dp : plait::axis<2> {};
struct node : plait::mesh<dp> {};
using plait::dyn;
using cut_rows = plait::layout<node, plait::on<dp, plait::Shard<0>>>;
using heads = plait::tensor<float, plait::extents<dyn, dyn, 4, 8>, cut_rows>;
#ifdef PLAIT_EXPECT_FAIL
using segments = plait::tensor<std::int32_t, plait::extents<dyn, dyn>, plait::layout<node>>;
#else
using segments = plait::tensor<std::int32_t, plait::extents<dyn, dyn>, cut_rows>;
#endif
auto attend(plait::context& c, const heads& q, const heads& k, const heads& v, const segments& s) {
  return plait::attention(c, q, k, v, s, 0.5);  // expected-error {{"plait\[rows-apart\]"}}
}
