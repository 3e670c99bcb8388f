// olmoe under its four plans, float32 and bfloat16: the only place where these types are instantiated.
#include "plait/model/olmoe.hpp"

#include "../families.hpp"

plait::family trainer::olmoe_family() {
  using namespace plait;
  return make_family<olmoe, olmoe_tp, olmoe_sp, olmoe_tp_ep, olmoe_sp_ep>();
}
