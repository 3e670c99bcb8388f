// qwen3 under its two plans, float32 and bfloat16: the only place where these types are instantiated.
#include "plait/model/qwen3.hpp"

#include "../families.hpp"

plait::family trainer::qwen3_family() {
  using namespace plait;
  return make_family<qwen3, qwen3_tp, qwen3_sp, no_plan, no_plan>();
}
