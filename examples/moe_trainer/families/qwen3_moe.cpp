// qwen3_moe under its four plans, float32 and bfloat16: the only place where these types are instantiated.
#include "plait/model/qwen3_moe.hpp"

#include "../families.hpp"

plait::family trainer::qwen3_moe_family() {
  using namespace plait;
  return make_family<qwen3_moe, qwen3_moe_tp, qwen3_moe_sp, qwen3_moe_tp_ep, qwen3_moe_sp_ep>();
}
