// phimoe under its four plans, float32 and bfloat16: the only place where these types are instantiated.
#include "plait/model/phimoe.hpp"

#include "../families.hpp"

plait::family trainer::phimoe_family() {
  using namespace plait;
  return make_family<phimoe, mixtral_tp, mixtral_sp, mixtral_tp_ep, mixtral_sp_ep>();
}
