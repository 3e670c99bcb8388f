// A model whose table has no final norm.
#include "plait/model/decoder_rows.hpp"
#include "plait/model/mixtral.hpp"

using namespace plait;
using D = decoder_dims;

#ifdef PLAIT_EXPECT_FAIL
struct my_model : mixtral {
  static constexpr parameter parameters[] = {
      mixtral::parameters[0], mixtral::parameters[1], mixtral::parameters[2], mixtral::parameters[3], mixtral::parameters[4], mixtral::parameters[5],
      mixtral::parameters[6], mixtral::parameters[7], mixtral::parameters[8], mixtral::parameters[9], mixtral::parameters[11],
  };
};
static_assert(fits_decoder<my_model>);  // expected-error {{"plait\[missing-row\]"}}
#else
struct my_model : mixtral {};
static_assert(fits_decoder<my_model>);
#endif
