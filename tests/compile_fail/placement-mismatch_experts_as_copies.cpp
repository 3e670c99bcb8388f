// Experts differ between the ranks of ep. Taken for copies of each other (by a broadcast on loading, a gather on saving),
// the first rank's would stand for all.
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using experts = plait::tensor<float, plait::extents<4, 8, 8>, plait::layout<node, plait::on<tp, plait::Shard<0>>>>;
using copies = plait::tensor<float, plait::extents<4, 8, 8>, plait::layout<node>>;
inline void save_from_first_rank(const copies&) {}
#ifdef PLAIT_EXPECT_FAIL
void save(const experts& w) {
  save_from_first_rank(w);  // expected-error {{"plait\[placement-mismatch\]"}}
}
#else
void save(plait::context& c, const experts& w) {
  save_from_first_rank(plait::redistribute<plait::layout<node>>(c, w));
}
#endif
