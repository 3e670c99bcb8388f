// ernie4_5_moe under its four plans, float32 and bfloat16: the only place where these types are instantiated.
#include "plait/model/ernie4_5_moe.hpp"

#include "../families.hpp"

plait::family trainer::ernie4_5_moe_family() {
  using namespace plait;
  return make_family<ernie4_5_moe, ernie4_5_moe_tp, ernie4_5_moe_sp, ernie4_5_moe_tp_ep, ernie4_5_moe_sp_ep>();
}
