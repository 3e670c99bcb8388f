// A norm that the decoder has no place for.
#include "plait/model/decoder_rows.hpp"
#include "plait/model/mixtral.hpp"

using namespace plait;
using D = decoder_dims;

#ifdef PLAIT_EXPECT_FAIL
inline constexpr parameter more[] = {
    {"model.layers.*.self_attn.q_norm.weight", {D::head_dim}},
    {"model.layers.*.self_attn.k_norm.weight", {D::head_dim}},
    {"model.layers.*.post_feedforward_layernorm.weight", {D::hidden}},
};
struct my_model : mixtral {
  static constexpr auto table = with_rows(mixtral::parameters, more);
  static constexpr auto& parameters = table.rows;
};
static_assert(fits_decoder<my_model>);  // expected-error {{"plait\[unread-row\]"}}
#else
inline constexpr parameter more[] = {
    {"model.layers.*.self_attn.q_norm.weight", {D::head_dim}},
    {"model.layers.*.self_attn.k_norm.weight", {D::head_dim}},
};
struct my_model : mixtral {
  static constexpr auto table = with_rows(mixtral::parameters, more);
  static constexpr auto& parameters = table.rows;
};
static_assert(fits_decoder<my_model>);
#endif
