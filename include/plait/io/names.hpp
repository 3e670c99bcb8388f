#pragma once
// Checkpoint names on disk and in memory. On disk every expert has tensors of its own (and some families have names of
// their own); in memory the experts of a layer are two tensors, as in transformers:
//   model.layers.N.mlp.experts.gate_up_proj [E, 2I, H]  (gate rows first, then up)
//   model.layers.N.mlp.experts.down_proj    [E, H, I]
// The expert is the number in the name, never the order of arrival.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plait/io/error.hpp"

namespace plait::inline v0_1::io {

/// How the name of a layer's tensor begins in memory, and how on disk.
struct renamed {
  std::string_view memory, disk;
};

/// How a family spells its layers on disk.
struct family_names {
  std::string_view family;
  std::string_view block;           ///< what "mlp" of a sparse layer is called
  std::string_view gate, up, down;  ///< parts of one expert; empty: on disk, too, a layer's experts are two tensors
  std::span<const renamed> renames{};
  bool fused_on_disk() const { return gate.empty(); }
};

inline constexpr renamed granitemoe_names[] = {
    {"mlp.gate.", "block_sparse_moe.router.layer."},
    {"mlp.experts.gate_up_proj", "block_sparse_moe.input_linear.weight"},
    {"mlp.experts.down_proj", "block_sparse_moe.output_linear.weight"},
};
inline constexpr renamed hunyuan_v1_moe_names[] = {
    {"mlp.gate.", "mlp.gate.wg."},
    {"mlp.shared_expert.", "mlp.shared_mlp."},
    {"self_attn.q_norm.", "self_attn.query_layernorm."},
    {"self_attn.k_norm.", "self_attn.key_layernorm."},
};

inline constexpr renamed deepseek_names[] = {{"mlp.shared_expert.", "mlp.shared_experts."}};

inline constexpr renamed gpt_oss_names[] = {{"mlp.gate.", "mlp.router."}};
inline constexpr renamed llama4_text_names[] = {{"mlp.gate.", "feed_forward.router."}};
inline constexpr renamed ernie4_5_moe_names[] = {
    {"mlp.gate.e_score_correction_bias", "mlp.moe_statics.e_score_correction_bias"},
    {"mlp.shared_expert.", "mlp.shared_experts."},
};
inline constexpr renamed minimax_m2_names[] = {{"mlp.gate.e_score_correction_bias", "block_sparse_moe.e_score_correction_bias"}};

inline constexpr family_names family_table[] = {
    {"mixtral", "block_sparse_moe", "w1", "w3", "w2"},
    {"qwen3_moe", "mlp", "gate_proj", "up_proj", "down_proj"},
    {"llama", "mlp", "gate_proj", "up_proj", "down_proj"},
    {"qwen3", "mlp", "gate_proj", "up_proj", "down_proj"},
    {"granitemoe", "block_sparse_moe", "", "", "", granitemoe_names},
    {"qwen2_moe", "mlp", "gate_proj", "up_proj", "down_proj"},
    {"hunyuan_v1_moe", "mlp", "gate_proj", "up_proj", "down_proj", hunyuan_v1_moe_names},
    {"olmoe", "mlp", "gate_proj", "up_proj", "down_proj"},
    {"gpt_oss", "mlp", "", "", "", gpt_oss_names},
    {"llama4_text", "feed_forward", "", "", "", llama4_text_names},
    {"deepseek_v2", "mlp", "gate_proj", "up_proj", "down_proj", deepseek_names},
    {"deepseek_v3", "mlp", "gate_proj", "up_proj", "down_proj", deepseek_names},
    {"glm4_moe", "mlp", "gate_proj", "up_proj", "down_proj", deepseek_names},
    {"minimax_m2", "block_sparse_moe", "w1", "w3", "w2", minimax_m2_names},
    {"phimoe", "block_sparse_moe", "w1", "w3", "w2"},
    {"ernie4_5_moe", "mlp", "gate_proj", "up_proj", "down_proj", ernie4_5_moe_names},
};

inline const family_names& names_of(std::string_view family) {
  for (const family_names& names : family_table)
    if (names.family == family) return names;
  std::string known;
  for (const family_names& names : family_table) known += (known.empty() ? "" : ", ") + std::string(names.family);
  throw input_error("checkpoint names of family " + in_quotes(family, 40) + " are unknown; supported: " + known);
}

namespace detail {

/// A decimal number without sign or leading zeros at the start of `text`, which it is cut from; -1 where there is none.
inline std::int64_t take_number(std::string_view& text) {
  std::size_t n = 0;
  std::int64_t value = 0;
  while (n < text.size() && n < 10 && text[n] >= '0' && text[n] <= '9') value = value * 10 + (text[n++] - '0');
  if (n == 0 || (n > 1 && text[0] == '0')) return -1;
  text.remove_prefix(n);
  return value;
}

inline bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// "model.layers.N." and what follows it; layer -1 where the name is no layer's.
struct layer_name {
  std::int64_t layer = -1;
  std::string_view rest;
};
inline layer_name split_layer(std::string_view name) {
  std::string_view rest = name;
  if (!take(rest, "model.layers.")) return {-1, name};
  const std::int64_t layer = take_number(rest);
  if (layer < 0 || !take(rest, ".")) return {-1, name};
  return {layer, rest};
}

inline std::string layer_prefix(std::int64_t layer) { return "model.layers." + std::to_string(layer) + "."; }

enum class fused { none, gate_up, down };
inline fused fused_kind(std::string_view memory_name) {
  const std::string_view rest = split_layer(memory_name).rest;
  return rest == "mlp.experts.gate_up_proj" ? fused::gate_up : rest == "mlp.experts.down_proj" ? fused::down : fused::none;
}

inline std::string expert_name(const family_names& names, std::int64_t layer, std::int64_t expert, std::string_view part) {
  std::string name = layer_prefix(layer);
  name += names.block;
  name += ".experts.";
  name += std::to_string(expert);
  name += '.';
  name += part;
  return name += ".weight";
}

/// The names under which a tensor in memory may lie whole on disk: the family's spelling first.
inline std::vector<std::string> whole_names(const family_names& names, std::string_view memory_name) {
  const layer_name at = split_layer(memory_name);
  std::vector<std::string> all;
  std::string_view rest = at.rest;
  const renamed* rename = nullptr;
  for (const renamed& r : names.renames)
    if (at.layer >= 0 && rename == nullptr && take(rest, r.memory)) rename = &r;
  if (rename != nullptr)
    all.push_back(layer_prefix(at.layer) + std::string(rename->disk) + std::string(rest));
  else if (at.layer >= 0 && names.block != "mlp" && take(rest, "mlp."))
    all.push_back(layer_prefix(at.layer) + std::string(names.block) + "." + std::string(rest));
  all.emplace_back(memory_name);
  return all;
}

}  // namespace detail

/// What a name on disk is a part of.
struct disk_part {
  std::string memory_name;
  std::int64_t expert = -1;  ///< the number in the name; -1: the tensor is whole
  enum class role : std::uint8_t { whole, gate, up, down } part = role::whole;
};

/// The tensor in memory that a tensor on disk belongs to, by its name alone.
inline disk_part parse_disk_name(std::string_view family, std::string_view disk_name) {
  const family_names& names = names_of(family);
  const detail::layer_name at = detail::split_layer(disk_name);
  if (at.layer < 0) return {std::string(disk_name)};
  std::string_view rest = at.rest;
  for (const renamed& r : names.renames)
    if (detail::take(rest, r.disk)) return {detail::layer_prefix(at.layer) + std::string(r.memory) + std::string(rest)};
  if (!(detail::take(rest, names.block) || detail::take(rest, "mlp")) || !detail::take(rest, "."))
    return {std::string(disk_name)};
  const std::string base = detail::layer_prefix(at.layer) + "mlp.";
  std::string_view tail = rest;
  if (detail::take(tail, "experts.")) {
    const std::int64_t expert = detail::take_number(tail);
    if (expert >= 0 && detail::take(tail, ".")) {
      if (tail.ends_with(".weight")) {
        tail.remove_suffix(7);
        if (tail == names.gate) return {base + "experts.gate_up_proj", expert, disk_part::role::gate};
        if (tail == names.up) return {base + "experts.gate_up_proj", expert, disk_part::role::up};
        if (tail == names.down) return {base + "experts.down_proj", expert, disk_part::role::down};
      }
      return {std::string(disk_name)};
    }
  }
  return {base + std::string(rest)};
}

}  // namespace plait::inline v0_1::io
