// glm4_moe under its four plans, float32 and bfloat16: the only place where these types are instantiated.
#include "plait/model/glm4_moe.hpp"

#include "../families.hpp"

plait::family trainer::glm4_moe_family() {
  using namespace plait;
  return make_family<glm4_moe, glm4_moe_tp, glm4_moe_sp, glm4_moe_tp_ep, glm4_moe_sp_ep>();
}
