// Labels of the whole sequence beside logits whose sequence is cut: each rank would read other tokens' labels, and past the end.
#include "plait/ops/loss.hpp"

struct cp : plait::axis<2> {};
struct node : plait::mesh<cp> {};
using plait::dyn;
template <class Layout>
using labels_in = plait::tensor<std::int64_t, plait::extents<dyn, dyn>, Layout>;
using cut_rows = plait::layout<node, plait::on<cp, plait::Shard<1>>>;
using logits = plait::tensor<float, plait::extents<dyn, dyn, 16>, cut_rows>;
using maxima = plait::tensor<float, plait::extents<dyn, dyn>, cut_rows>;
#ifdef PLAIT_EXPECT_FAIL
using labels = labels_in<plait::layout<node>>;
#else
using labels = labels_in<cut_rows>;
#endif
auto parts(plait::context& c, const logits& x, const maxima& m, const labels& l) {
  return plait::cross_entropy_parts(c, x, m, l);  // expected-error {{"plait\[rows-apart\]"}}
}
