#include "plait/model/gpt_oss.hpp"

#include "../families.hpp"

plait::family trainer::gpt_oss_family() {
  using namespace plait;
  return make_family<gpt_oss, gpt_oss_tp, gpt_oss_sp, gpt_oss_tp_ep, gpt_oss_sp_ep>();
}
