// Nothing is said of the residual stream.
#include "plait/model/decoder_rows.hpp"
#include "plait/model/mixtral.hpp"

using namespace plait;
using D = decoder_dims;

#ifdef PLAIT_EXPECT_FAIL
struct my_model : mixtral {
  static constexpr activation_point activations[] = {decoder_points[1], decoder_points[2], decoder_points[4]};
};
static_assert(fits_decoder<my_model>);  // expected-error {{"plait\[decoder-points\]"}}
#else
struct my_model : mixtral {
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[4]};
};
static_assert(fits_decoder<my_model>);
#endif
