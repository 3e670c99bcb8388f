// hunyuan_v1_moe under its four plans, float32 and bfloat16: the only place where these types are instantiated.
#include "plait/model/hunyuan_v1_moe.hpp"

#include "../families.hpp"

plait::family trainer::hunyuan_v1_moe_family() {
  using namespace plait;
  return make_family<hunyuan_v1_moe, hunyuan_v1_moe_tp, hunyuan_v1_moe_sp, hunyuan_v1_moe_tp_ep, hunyuan_v1_moe_sp_ep>();
}
