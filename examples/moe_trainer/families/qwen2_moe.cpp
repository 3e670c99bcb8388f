// qwen2_moe under its four plans, float32 and bfloat16: the only place where these types are instantiated.
#include "plait/model/qwen2_moe.hpp"

#include "../families.hpp"

plait::family trainer::qwen2_moe_family() {
  using namespace plait;
  return make_family<qwen2_moe, qwen2_moe_tp, qwen2_moe_sp, qwen2_moe_tp_ep, qwen2_moe_sp_ep>();
}
