// llama under its two plans, float32 and bfloat16: the only place where these types are instantiated.
#include "plait/model/llama.hpp"

#include "../families.hpp"

plait::family trainer::llama_family() {
  using namespace plait;
  return make_family<llama, llama_tp, llama_sp, no_plan, no_plan>();
}
