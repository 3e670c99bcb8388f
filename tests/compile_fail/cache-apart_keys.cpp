// Whole keys appended to a cache of keys whose heads are cut over tp.
#include "plait/ops/redistribute.hpp"
#include "plait/ops/sequence.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using cut = plait::layout<node, plait::on<tp, plait::Shard<2>>>;
using heads = plait::tensor<float, plait::extents<dyn, dyn, dyn, dyn>, cut>;
using whole = plait::tensor<float, plait::extents<dyn, dyn, dyn, dyn>, plait::layout<node>>;
void remember(plait::context& c, plait::runtime::growing_sequence& memory, const whole& k) {
  const plait::sequence_cache<heads> keys(memory);
#ifdef PLAIT_EXPECT_FAIL
  plait::append(c, keys, k);  // expected-error {{"plait\[cache-apart\]"}}
#else
  plait::append(c, keys, plait::redistribute<cut>(c, k));
#endif
}
