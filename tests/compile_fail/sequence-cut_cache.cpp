// A cache of tensors whose sequence is cut over tp: the next position would belong to another rank.
#include "plait/ops/redistribute.hpp"
#include "plait/ops/sequence.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using by_position = plait::layout<node, plait::on<tp, plait::Shard<1>>>;
using keys = plait::tensor<float, plait::extents<dyn, dyn, 4, 8>, by_position>;
void remember(plait::context& c, plait::runtime::growing_sequence& memory, const keys& k) {
#ifdef PLAIT_EXPECT_FAIL
  plait::append(c, plait::sequence_cache<keys>(memory), k);  // expected-error {{"plait\[sequence-cut\]"}}
#else
  using whole = plait::layout<node>;
  const auto all = plait::redistribute<whole>(c, k);
  plait::append(c, plait::sequence_cache<plait::tensor<float, plait::extents<dyn, dyn, 4, 8>, whole>>(memory), all);
#endif
}
