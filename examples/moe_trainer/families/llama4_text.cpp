#include "plait/model/llama4_text.hpp"

#include "../families.hpp"

plait::family trainer::llama4_text_family() {
  using namespace plait;
  return make_family<llama4_text, llama4_text_tp, llama4_text_sp, llama4_text_tp_ep, llama4_text_sp_ep>();
}
