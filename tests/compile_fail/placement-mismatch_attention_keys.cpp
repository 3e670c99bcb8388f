// Query heads cut over tp, key heads not: query head 0 of rank 1 would meet key head 0.
#include "plait/ops/attention.hpp"
#include "plait/ops/redistribute.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};
using plait::dyn;
using heads = plait::tensor<float, plait::extents<dyn, dyn, dyn, dyn>, plait::layout<node, plait::on<tp, plait::Shard<2>>>>;
using whole = plait::tensor<float, plait::extents<dyn, dyn, dyn, dyn>, plait::layout<node>>;
using segments = plait::tensor<std::int32_t, plait::extents<dyn, dyn>, plait::layout<node>>;
#ifdef PLAIT_EXPECT_FAIL
auto y(plait::context& c, const heads& q, const whole& k, const whole& v, const segments& s) {
  return plait::attention(c, q, k, v, s, 1.0);  // expected-error {{"plait\[placement-mismatch\]"}}
}
#else
auto y(plait::context& c, const heads& q, const whole& k, const whole& v, const segments& s) {
  using cut = plait::layout<node, plait::on<tp, plait::Shard<2>>>;
  return plait::attention(c, q, plait::redistribute<cut>(c, k), plait::redistribute<cut>(c, v), s, 1.0);
}
#endif
