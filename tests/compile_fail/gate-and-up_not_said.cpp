// Under expert parallelism no style asks how gate and up lie: they would be taken for pairs.
#include "plait/model/decoder_rows.hpp"
#include "plait/model/mixtral.hpp"

using namespace plait;
using D = decoder_dims;

#ifdef PLAIT_EXPECT_FAIL
struct my_model : mixtral {
  static constexpr parameter parameters[] = {
      mixtral::parameters[0], mixtral::parameters[1], mixtral::parameters[2], mixtral::parameters[3], mixtral::parameters[4], mixtral::parameters[5],
      mixtral::parameters[6], mixtral::parameters[7],
      {"model.layers.*.mlp.experts.gate_up_proj", {D::experts, D::expert_width_2, D::hidden}, layer_kind::sparse},
      mixtral::parameters[9], mixtral::parameters[10], mixtral::parameters[11],
  };
};
static_assert(fits_decoder<my_model>);  // expected-error {{"plait\[gate-and-up\]"}}
#else
struct my_model : mixtral {
  static constexpr parameter parameters[] = {
      mixtral::parameters[0], mixtral::parameters[1], mixtral::parameters[2], mixtral::parameters[3], mixtral::parameters[4], mixtral::parameters[5],
      mixtral::parameters[6], mixtral::parameters[7],
      {"model.layers.*.mlp.experts.gate_up_proj", {D::experts, D::expert_width_2, D::hidden}, packed(1, 2), layer_kind::sparse},
      mixtral::parameters[9], mixtral::parameters[10], mixtral::parameters[11],
  };
};
static_assert(fits_decoder<my_model>);
#endif
