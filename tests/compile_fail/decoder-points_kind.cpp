// The point of the MLP without its kind of layer.
#include "plait/model/decoder_rows.hpp"
#include "plait/model/mixtral.hpp"

using namespace plait;
using D = decoder_dims;

#ifdef PLAIT_EXPECT_FAIL
struct my_model : mixtral {
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], {"model.layers.*.mlp", 3}, decoder_points[4]};
};
static_assert(fits_decoder<my_model>);  // expected-error {{"plait\[decoder-points\]"}}
#else
struct my_model : mixtral {
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[4]};
};
static_assert(fits_decoder<my_model>);
#endif
