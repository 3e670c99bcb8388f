// The correction of the choice is not trained.
#include "plait/model/decoder_rows.hpp"
#include "plait/model/mixtral.hpp"

using namespace plait;
using D = decoder_dims;

#ifdef PLAIT_EXPECT_FAIL
inline constexpr parameter more[] = {
    {"model.layers.*.mlp.gate.e_score_correction_bias", {D::experts}, layer_kind::sparse},
};
struct my_model : mixtral {
  static constexpr auto table = with_rows(mixtral::parameters, more);
  static constexpr auto& parameters = table.rows;
};
static_assert(fits_decoder<my_model>);  // expected-error {{"plait\[unread-row\]"}}
#else
inline constexpr parameter more[] = {
    {"model.layers.*.mlp.gate.e_score_correction_bias", {D::experts}, frozen{}, layer_kind::sparse},
};
struct my_model : mixtral {
  static constexpr auto table = with_rows(mixtral::parameters, more);
  static constexpr auto& parameters = table.rows;
};
static_assert(fits_decoder<my_model>);
#endif
