// mixtral under its four plans, float32 and bfloat16: the only place where these types are instantiated.
#include "plait/model/mixtral.hpp"

#include "../families.hpp"

plait::family trainer::mixtral_family() {
  using namespace plait;
  return make_family<mixtral, mixtral_tp, mixtral_sp, mixtral_tp_ep, mixtral_sp_ep>();
}
