// The gradient of a replicated weight, compared or written out while each rank still has its own part of it.
#include "plait/ops/values.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using weight = plait::tensor<float, plait::extents<8>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
std::vector<float> f(plait::context& c, const plait::grad_t<weight>& g) {
  return plait::values_of(c, g);  // expected-error {{"plait\[pending-read\]"}}
}
#else
std::vector<float> f(plait::context& c, const plait::grad_t<weight>& g) {
  return plait::values_of(c, plait::redistribute<plait::layout<node, plait::on<tp, plait::Invariant>>>(c, g));
}
#endif
