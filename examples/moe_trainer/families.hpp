#pragma once
// The families built in. Each is instantiated in a file of its own under families/.
#include "plait/model/family.hpp"

namespace trainer {

plait::family mixtral_family();
plait::family qwen3_moe_family();
plait::family llama_family();
plait::family qwen3_family();
plait::family granitemoe_family();
plait::family qwen2_moe_family();
plait::family hunyuan_v1_moe_family();
plait::family olmoe_family();
plait::family deepseek_v2_family();
plait::family deepseek_v3_family();
plait::family gpt_oss_family();
plait::family llama4_text_family();
plait::family glm4_moe_family();
plait::family minimax_m2_family();
plait::family phimoe_family();
plait::family ernie4_5_moe_family();

/// The family of that name; a usage error lists what this program was built with.
const plait::family& family_named(const std::string& name);

}  // namespace trainer
