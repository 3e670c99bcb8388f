// The gradient of a weight that every rank applies to its own rows is a pending sum. An optimizer that takes it as it is
// lets the
// ranks' copies drift apart (upstream: q_norm and k_norm under head sharding, the router's gate under expert parallelism).
#include "plait/train/update.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using weight = plait::tensor<float, plait::extents<8>, plait::layout<node>>;
using moments = weight;
using gradient = plait::grad_t<weight>;
#ifdef PLAIT_EXPECT_FAIL
void step(plait::context& c, weight& w, const gradient& g, moments& m, moments& v) {
  plait::update(c, w, g, m, v, {});  // expected-error {{"plait\[gradient-not-synchronised\]"}}
}
#else
void step(plait::context& c, weight& w, const gradient& g, moments& m, moments& v) {
  plait::update(c, w, plait::redistribute<plait::layout<node, plait::on<tp, plait::Invariant>>>(c, g), m, v, {});
}
#endif
