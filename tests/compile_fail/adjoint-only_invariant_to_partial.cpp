// Invariant -> Partial exists only as the backward of Replicate -> Invariant; a copy joins a pending sum from Replicate.
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using stream = plait::tensor<float, plait::extents<dyn, 8>, plait::layout<node, plait::on<tp, plait::Invariant>>>;
using addend = plait::layout<node, plait::on<tp, plait::Partial>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const stream& x) {
  return plait::redistribute<addend>(c, x);  // expected-error {{"plait\[adjoint-only\]"}}
}
#else
auto y(plait::context& c, const stream& x) {
  return plait::redistribute<addend>(c, plait::redistribute<plait::layout<node>>(c, x));
}
#endif
