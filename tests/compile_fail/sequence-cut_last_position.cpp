// The last position of a residual stream that is cut by sequence: every rank would take the last one of its own piece.
#include "plait/ops/redistribute.hpp"
#include "plait/ops/sequence.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using stream = plait::tensor<float, plait::extents<dyn, dyn, 16>, plait::layout<node, plait::on<tp, plait::Shard<1>>>>;
auto head_input(plait::context& c, const stream& x) {
#ifdef PLAIT_EXPECT_FAIL
  return plait::last_position(c, x);  // expected-error {{"plait\[sequence-cut\]"}}
#else
  return plait::last_position(c, plait::redistribute<plait::layout<node>>(c, x));
#endif
}
