// deepseek_v3 under its four plans, float32 and bfloat16: the only place where these types are instantiated.
#include "plait/model/deepseek_v3.hpp"

#include "../families.hpp"

plait::family trainer::deepseek_v3_family() {
  using namespace plait;
  return make_family<deepseek_v3, deepseek_v2_tp, deepseek_v2_sp, deepseek_v2_tp_ep, deepseek_v2_sp_ep>();
}
