// minimax_m2 under its four plans, float32 and bfloat16: the only place where these types are instantiated.
#include "plait/model/minimax_m2.hpp"

#include "../families.hpp"

plait::family trainer::minimax_m2_family() {
  using namespace plait;
  return make_family<minimax_m2, minimax_m2_tp, minimax_m2_sp, minimax_m2_tp_ep, minimax_m2_sp_ep>();
}
