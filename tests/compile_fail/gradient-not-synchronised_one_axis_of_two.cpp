// HSDP: the gradient was reduce-scattered over the inner data ranks, and forgotten over the outer ones.
#include "plait/train/update.hpp"

struct outer : plait::axis<2> {};
struct inner : plait::axis<2> {};
struct node : plait::mesh<outer, inner> {};
using stored = plait::layout<node, plait::on<inner, plait::Shard<0>>>;
using reduced_inside = plait::layout<node, plait::on<inner, plait::Shard<0>>, plait::on<outer, plait::Partial>>;
using weight = plait::tensor<float, plait::extents<8, 8>, stored>;
using moments = weight;
using gradient = plait::tensor<float, plait::extents<8, 8>, reduced_inside>;

#ifdef PLAIT_EXPECT_FAIL
void step(plait::context& c, weight& w, const gradient& g, moments& m, moments& v) {
  plait::update(c, w, g, m, v, {});  // expected-error {{"plait\[gradient-not-synchronised\]"}}
}
#else
void step(plait::context& c, weight& w, const gradient& g, moments& m, moments& v) {
  plait::update(c, w, plait::redistribute<stored>(c, g), m, v, {});
}
#endif
