// Queries whose heads are cut over tp beside a cache of all keys: query head 0 of rank 1 would meet key head 0.
#include "plait/ops/sequence.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using heads = plait::tensor<float, plait::extents<dyn, dyn, dyn, dyn>, plait::layout<node, plait::on<tp, plait::Shard<2>>>>;
using segments = plait::tensor<std::int32_t, plait::extents<dyn, dyn>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
using cached = plait::tensor<float, plait::extents<dyn, dyn, dyn, dyn>, plait::layout<node>>;
#else
using cached = heads;
#endif
auto y(plait::context& c, const heads& q, const plait::sequence_cache<cached>& k, const plait::sequence_cache<cached>& v,
       const plait::sequence_cache<segments>& s) {
  return plait::attention(c, q, k, v, s, 1.0);  // expected-error {{"plait\[placement-mismatch\]"}}
}
