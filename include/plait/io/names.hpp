#pragma once
// Checkpoint names on disk and in memory. On disk every expert has tensors of its own (and some families have names of
// their own); in memory the experts of a layer are two tensors, as in transformers:
//   model.layers.N.mlp.experts.gate_up_proj [E, 2I, H]  (gate rows first, then up)
//   model.layers.N.mlp.experts.down_proj    [E, H, I]
// The expert is the number in the name, never the order of arrival. Checkpoints that are already fused are read too.
// A box of a tensor in memory becomes reads of exactly its bytes on disk; the way back serves export.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/io/config.hpp"
#include "plait/io/error.hpp"
#include "plait/io/hf_folder.hpp"
#include "plait/io/safetensors.hpp"
#include "plait/runtime/bfloat16.hpp"
#include "plait/runtime/view.hpp"

namespace plait::inline v0_1::io {

struct named_shape {
  std::string name;
  std::vector<std::int64_t> shape;
  bool trained = true;  ///< else it has no moments, and keeps float32 in a narrower model
};

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

inline void require_box(std::string_view name, std::span<const std::int64_t> shape, std::span<const std::int64_t> start,
                        std::span<const std::int64_t> count) {
  bool good = start.size() == shape.size() && count.size() == shape.size();
  for (std::size_t d = 0; good && d < shape.size(); ++d)
    good = start[d] >= 0 && count[d] >= 0 && start[d] <= shape[d] && count[d] <= shape[d] - start[d];
  if (!good) throw std::out_of_range("a box of " + printable(name) + " is outside its shape " + shape_text(shape));
}

inline std::int64_t product(std::span<const std::int64_t> extents) {
  std::int64_t n = 1;
  for (const std::int64_t extent : extents) n *= extent;
  return n;
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

/// The parameters of multi-head latent attention (transformers models/deepseek_v2).
inline void add_latent_attention(const model_config& c, const std::string& layer, std::vector<named_shape>& all) {
  const std::string at = layer + "self_attn.";
  const auto add = [&](const char* name, std::vector<std::int64_t> shape) { all.push_back({at + name, std::move(shape)}); };
  const std::int64_t q = c.heads * c.head_dim, latent = c.latent_rank + c.rotated();
  if (c.query_rank > 0) {
    add("q_a_proj.weight", {c.query_rank, c.hidden});
    if (c.attention_bias) add("q_a_proj.bias", {c.query_rank});
    add("q_a_layernorm.weight", {c.query_rank});
    add("q_b_proj.weight", {q, c.query_rank});
  } else {
    add("q_proj.weight", {q, c.hidden});
  }
  add("kv_a_proj_with_mqa.weight", {latent, c.hidden});
  if (c.attention_bias) add("kv_a_proj_with_mqa.bias", {latent});
  add("kv_a_layernorm.weight", {c.latent_rank});
  add("kv_b_proj.weight", {c.heads * c.expanded_head(), c.latent_rank});
  add("o_proj.weight", {c.hidden, c.heads * c.value_head});
  if (c.attention_bias) add("o_proj.bias", {c.hidden});
}

}  // namespace detail

/// Every parameter of a model by its name in memory, with its global shape; a tied head is not listed.
inline std::vector<named_shape> memory_tensors(const model_config& c) {
  std::vector<named_shape> all;
  const std::int64_t q = c.heads * c.head_dim;
  const std::int64_t kv = c.kv_heads * c.head_dim;
  all.push_back({"model.embed_tokens.weight", {c.vocabulary, c.hidden}});
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const std::string at = detail::layer_prefix(i);
    const auto add_norm = [&](const std::string& name) {
      all.push_back({name + ".weight", {c.hidden}});
      if (c.layer_norm) all.push_back({name + ".bias", {c.hidden}});
    };
    add_norm(at + "input_layernorm");
    if (c.latent_rank > 0) detail::add_latent_attention(c, at, all);
    if (c.latent_rank == 0) {
      all.push_back({at + "self_attn.q_proj.weight", {q, c.hidden}});
      all.push_back({at + "self_attn.k_proj.weight", {kv, c.hidden}});
      all.push_back({at + "self_attn.v_proj.weight", {kv, c.hidden}});
      all.push_back({at + "self_attn.o_proj.weight", {c.hidden, q}});
    }
    if (c.attention_bias && c.latent_rank == 0) {
      all.push_back({at + "self_attn.q_proj.bias", {q}});
      all.push_back({at + "self_attn.k_proj.bias", {kv}});
      all.push_back({at + "self_attn.v_proj.bias", {kv}});
      all.push_back({at + "self_attn.o_proj.bias", {c.hidden}});
    }
    if (c.query_key_value_bias) {
      all.push_back({at + "self_attn.q_proj.bias", {q}});
      all.push_back({at + "self_attn.k_proj.bias", {kv}});
      all.push_back({at + "self_attn.v_proj.bias", {kv}});
    }
    if (c.query_key_norm) {
      all.push_back({at + "self_attn.q_norm.weight", {c.query_key_norm_whole ? q : c.head_dim}});
      all.push_back({at + "self_attn.k_norm.weight", {c.query_key_norm_whole ? kv : c.head_dim}});
    }
    if (c.sinks) all.push_back({at + "self_attn.sinks", {c.heads}});
    add_norm(at + "post_attention_layernorm");
    const auto add_mlp = [&](const std::string& mlp, std::int64_t width) {
      all.push_back({mlp + "gate_proj.weight", {width, c.hidden}});
      all.push_back({mlp + "up_proj.weight", {width, c.hidden}});
      all.push_back({mlp + "down_proj.weight", {c.hidden, width}});
      if (!c.mlp_bias) return;
      all.push_back({mlp + "gate_proj.bias", {width}});
      all.push_back({mlp + "up_proj.bias", {width}});
      all.push_back({mlp + "down_proj.bias", {c.hidden}});
    };
    if (c.sparse_layer[static_cast<std::size_t>(i)]) {
      all.push_back({at + "mlp.gate.weight", {c.experts, c.hidden}});
      if (c.choice_correction > 0)
        all.push_back({at + "mlp.gate.e_score_correction_bias",
                       c.choice_correction == 2 ? std::vector<std::int64_t>{1, c.experts} : std::vector<std::int64_t>{c.experts}, false});
      if (c.router_bias) all.push_back({at + "mlp.gate.bias", {c.experts}});
      const auto expert = [&](const char* name, std::int64_t out, std::int64_t in) {
        all.push_back({at + "mlp.experts." + name, {c.experts, c.transposed_experts ? in : out, c.transposed_experts ? out : in}});
        if (c.expert_bias) all.push_back({at + "mlp.experts." + name + "_bias", {c.experts, out}});
      };
      expert("gate_up_proj", 2 * c.expert_intermediate, c.hidden);
      expert("down_proj", c.hidden, c.expert_intermediate);
      if (c.shared_intermediate > 0) add_mlp(at + "mlp.shared_expert.", c.shared_intermediate);
      if (c.shared_expert_gate) all.push_back({at + "mlp.shared_expert_gate.weight", {1, c.hidden}});
    } else {
      add_mlp(at + "mlp.", c.dense_intermediate);
    }
  }
  all.push_back({"model.norm.weight", {c.hidden}});
  if (c.layer_norm) all.push_back({"model.norm.bias", {c.hidden}});
  if (!c.tied) all.push_back({"lm_head.weight", {c.vocabulary, c.hidden}});
  if (c.head_bias) all.push_back({"lm_head.bias", {c.vocabulary}});
  return all;
}

/// One read: a box of a tensor on disk, and where it goes in the local buffer (whose shape is the box asked for). The
/// destination is always one contiguous stretch, which begins at element `to_offset`.
struct tensor_read {
  std::string name;
  std::vector<std::int64_t> shape;  ///< what the tensor on disk must look like
  std::vector<std::int64_t> start, count;
  std::vector<std::int64_t> to_start, to_count;
  std::int64_t to_offset = 0;
};

/// The reads that fill the box [start, start + count) of a tensor in memory from a checkpoint in the family's own
/// spelling (one tensor an expert).
inline std::vector<tensor_read> plan_reads(std::string_view family, std::string_view memory_name,
                                           std::span<const std::int64_t> shape, std::span<const std::int64_t> start,
                                           std::span<const std::int64_t> count) {
  using list = std::vector<std::int64_t>;
  const family_names& names = names_of(family);
  detail::require_box(memory_name, shape, start, count);
  std::vector<tensor_read> reads;
  if (detail::product(count) == 0) return reads;
  const detail::fused kind = detail::fused_kind(memory_name);
  if (kind == detail::fused::none || names.fused_on_disk()) {
    reads.push_back({detail::whole_names(names, memory_name).front(), list(shape.begin(), shape.end()),
                     list(start.begin(), start.end()), list(count.begin(), count.end()), list(shape.size(), 0),
                     list(count.begin(), count.end()), 0});
    return reads;
  }
  if (shape.size() != 3 || (kind == detail::fused::gate_up && shape[1] % 2 != 0))
    throw std::invalid_argument("plan_reads: " + printable(memory_name) + " cannot have the shape " + shape_text(shape));
  const std::int64_t layer = detail::split_layer(memory_name).layer;
  const auto add = [&](std::int64_t expert, std::string_view part, std::int64_t first, std::int64_t rows) {
    // rows [first, first + rows) of the fused tensor are this part's
    const std::int64_t from = std::max(start[1], first);
    const std::int64_t to = std::min(start[1] + count[1], first + rows);
    if (from >= to) return;
    tensor_read read;
    read.name = detail::expert_name(names, layer, expert, part);
    read.shape = {rows, shape[2]};
    read.start = {from - first, start[2]};
    read.count = {to - from, count[2]};
    read.to_start = {expert - start[0], from - start[1], 0};
    read.to_count = {1, to - from, count[2]};
    read.to_offset = ((expert - start[0]) * count[1] + (from - start[1])) * count[2];
    reads.push_back(std::move(read));
  };
  for (std::int64_t expert = start[0]; expert < start[0] + count[0]; ++expert) {
    if (kind == detail::fused::gate_up) {
      add(expert, names.gate, 0, shape[1] / 2);
      add(expert, names.up, shape[1] / 2, shape[1] / 2);
    } else {
      add(expert, names.down, 0, shape[1]);
    }
  }
  return reads;
}

/// One tensor to be written on disk: the box of a tensor in memory that it is. The box is contiguous in the whole
/// tensor, from element `from_offset` on.
struct tensor_write {
  std::string name;
  std::vector<std::int64_t> shape;  ///< on disk
  std::string memory_name;
  std::vector<std::int64_t> start, count;  ///< in the tensor in memory
  std::int64_t from_offset = 0;
  bool trained = true;
};

/// What a tensor in memory becomes on disk.
inline std::vector<tensor_write> plan_writes(std::string_view family, std::string_view memory_name,
                                             std::span<const std::int64_t> shape) {
  const std::vector<std::int64_t> zero(shape.size(), 0);
  std::vector<tensor_write> writes;
  for (tensor_read& read : plan_reads(family, memory_name, shape, zero, shape))
    writes.push_back({std::move(read.name), std::move(read.shape), std::string(memory_name), std::move(read.to_start),
                      std::move(read.to_count), read.to_offset});
  return writes;
}

/// Every tensor of an exported model.
inline std::vector<tensor_write> export_tensors(const model_config& config) {
  std::vector<tensor_write> all;
  for (const named_shape& tensor : memory_tensors(config))
    for (tensor_write& write : plan_writes(config.family, tensor.name, tensor.shape)) {
      write.trained = tensor.trained;
      all.push_back(std::move(write));
    }
  return all;
}

/// Every tensor that a checkpoint of this model has on disk, in the family's own spelling.
inline std::vector<named_shape> disk_tensors(const model_config& config) {
  std::vector<named_shape> all;
  for (tensor_write& write : export_tensors(config)) all.push_back({std::move(write.name), std::move(write.shape)});
  return all;
}

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

namespace detail {

inline float float_of_half(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 31u;
  const std::uint32_t fraction = bits & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
  if (exponent == 0) {
    const float tiny = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -tiny : tiny;
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (fraction << 13));
}

/// Rounds once: first to float with the lost bits kept in the last one ("to odd"), then to bfloat16.
inline bfloat16 bfloat16_of(double value) {
  float narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value && std::isfinite(narrow)) {
    if (std::fabs(static_cast<double>(narrow)) > std::fabs(value)) narrow = std::nextafter(narrow, 0.0f);
    narrow = std::bit_cast<float>(std::bit_cast<std::uint32_t>(narrow) | 1u);
  }
  return bfloat16(narrow);
}
inline bfloat16 bfloat16_of(float value) { return bfloat16(value); }

template <class From, class Read>
inline void convert_with(const char* from, dtype to, void* out, std::size_t n, Read read) {
  const auto each = [&](auto sample, auto make) {
    using target = decltype(sample);
    char* put = static_cast<char*>(out);
    for (std::size_t i = 0; i < n; ++i) {
      From raw;
      std::memcpy(&raw, from + i * sizeof(From), sizeof(From));
      const target value = make(read(raw));
      std::memcpy(put + i * sizeof(target), &value, sizeof(target));
    }
  };
  switch (to) {
    case dtype::f32:
      return each(float{}, [](auto v) { return static_cast<float>(v); });
    case dtype::f64:
      return each(double{}, [](auto v) { return static_cast<double>(v); });
    case dtype::bf16:
      return each(bfloat16{}, [](auto v) { return bfloat16_of(v); });
    default:
      throw std::invalid_argument("convert_elements: only f32, f64 and bf16 can be made");
  }
}

/// Reads a box with conversion; the buffer between is at most 8 MiB (or one innermost row).
inline void read_converted(const safetensors_file& file, const tensor_entry& entry, std::vector<std::int64_t> start,
                           std::vector<std::int64_t> count, dtype to, char* out);

}  // namespace detail

/// Whether a tensor of this element type can be loaded as numbers.
constexpr bool is_convertible(element type) {
  return type == element::f32 || type == element::f64 || type == element::bf16 || type == element::f16;
}

/// `n` elements of a file's type as the library's: F32, F64, BF16 or F16 to f32, f64 or bf16, rounded to nearest even.
inline void convert_elements(element from, const void* in, dtype to, void* out, std::size_t n) {
  const char* bytes = static_cast<const char*>(in);
  switch (from) {
    case element::f32:
      return detail::convert_with<float>(bytes, to, out, n, [](float v) { return v; });
    case element::f64:
      return detail::convert_with<double>(bytes, to, out, n, [](double v) { return v; });
    case element::bf16:
      return detail::convert_with<std::uint16_t>(
          bytes, to, out, n, [](std::uint16_t v) { return std::bit_cast<float>(static_cast<std::uint32_t>(v) << 16); });
    case element::f16:
      return detail::convert_with<std::uint16_t>(bytes, to, out, n, [](std::uint16_t v) { return detail::float_of_half(v); });
    default:
      throw std::invalid_argument("convert_elements: only F32, F64, BF16 and F16 can be read");
  }
}

inline void detail::read_converted(const safetensors_file& file, const tensor_entry& entry, std::vector<std::int64_t> start,
                                   std::vector<std::int64_t> count, dtype to, char* out) {
  if (dtype_of(entry.type) == to) return file.read_box(entry, start, count, out);
  const std::size_t size = bits_of(entry.type) / 8;
  const auto total = static_cast<std::size_t>(product(count));
  constexpr std::size_t room = std::size_t{8} << 20;
  std::size_t cut = 0;
  while (cut < count.size() && count[cut] == 1) ++cut;
  if (total * size <= room || cut == count.size()) {
    std::vector<char> raw(total * size);
    file.read_box(entry, start, count, raw.data());
    return convert_elements(entry.type, raw.data(), to, out, total);
  }
  const std::size_t row = total / static_cast<std::size_t>(count[cut]);
  const std::int64_t step = static_cast<std::int64_t>(std::max<std::size_t>(1, room / (row * size)));
  const std::int64_t first = start[cut];
  const std::int64_t rows = count[cut];
  for (std::int64_t at = 0; at < rows; at += step) {
    start[cut] = first + at;
    count[cut] = std::min(step, rows - at);
    read_converted(file, entry, start, count, to, out + static_cast<std::size_t>(at) * row * size_of(to));
  }
}

namespace detail {

inline void require_tensor(const hf_folder::location& at, std::span<const std::int64_t> shape) {
  const tensor_entry& entry = *at.entry;
  const std::string field = "tensor " + in_quotes(entry.name);
  at.file->require_loadable(entry);
  const auto found = entry.shape();
  if (!std::equal(found.begin(), found.end(), shape.begin(), shape.end()))
    throw input_error(
        at.file->path(), field,
        "has shape " + shape_text(found) + ", config.json asks for " + shape_text(shape) + "; use the matching file");
  if (!is_convertible(entry.type))
    throw input_error(at.file->path(), field,
                      std::string("is of type ") + name_of(entry.type) + "; F32, BF16, F16 and F64 can be loaded");
}

/// Where a tensor in memory lies whole on disk, if it does.
inline hf_folder::location find_whole(const hf_folder& folder, const family_names& names, std::string_view memory_name) {
  hf_folder::location found;
  for (const std::string& name : whole_names(names, memory_name)) {
    const hf_folder::location at = folder.find(name);
    if (at && found) throw input_error(folder.path(), "tensor " + in_quotes(name), "is there under two names; remove one");
    if (at) found = at;
  }
  return found;
}

/// A tied head that is on disk beside the embedding must be equal to it: transformers would not tie another.
inline void require_tied_head(const hf_folder& folder) {
  const hf_folder::location head = folder.find("lm_head.weight"), table = folder.find("model.embed_tokens.weight");
  if (!head || !table) return;
  const std::vector<std::int64_t> shape(table.entry->shape().begin(), table.entry->shape().end());
  require_tensor(head, shape);
  require_tensor(table, shape);
  const std::int64_t step = std::max<std::int64_t>(1, (std::int64_t{1} << 20) / std::max<std::int64_t>(1, shape[1]));
  for (std::int64_t row = 0; row < shape[0]; row += step) {
    const std::vector<std::int64_t> start{row, 0}, count{std::min(step, shape[0] - row), shape[1]};
    std::vector<float> a(static_cast<std::size_t>(product(count))), b(a.size());
    read_converted(*head.file, *head.entry, start, count, dtype::f32, reinterpret_cast<char*>(a.data()));
    read_converted(*table.file, *table.entry, start, count, dtype::f32, reinterpret_cast<char*>(b.data()));
    if (a != b)
      throw input_error(folder.path(), "tensor \"lm_head.weight\"",
                        "differs from \"model.embed_tokens.weight\", but config.json ties them; set tie_word_embeddings to false, or remove the tensor");
  }
}

[[noreturn]] inline void fail_missing(const hf_folder& folder, const std::string& name, std::size_t others = 0) {
  std::string problem = "is missing";
  if (others > 0) problem += " (and " + std::to_string(others) + " more)";
  throw input_error(folder.path(), "tensor " + in_quotes(name), problem + "; download the model again, or correct config.json");
}

}  // namespace detail

/// Fills `out` (row-major, of shape `count`, elements of type `to`: f32, bf16 or f64) with the box
/// [start, start + count) of the tensor that is called `memory_name` in memory and has global shape `shape`. Reads only
/// the bytes of that box, from one tensor an expert or from fused tensors, whichever the folder has.
inline void load_box(const hf_folder& folder, std::string_view family, std::string_view memory_name,
                     std::span<const std::int64_t> shape, std::span<const std::int64_t> start,
                     std::span<const std::int64_t> count, dtype to, void* out) {
  const family_names& names = names_of(family);
  detail::require_box(memory_name, shape, start, count);
  char* bytes = static_cast<char*>(out);
  if (const hf_folder::location whole = detail::find_whole(folder, names, memory_name)) {
    detail::require_tensor(whole, shape);
    return detail::read_converted(*whole.file, *whole.entry, {start.begin(), start.end()}, {count.begin(), count.end()}, to,
                                  bytes);
  }
  for (const tensor_read& read : plan_reads(family, memory_name, shape, start, count)) {
    const hf_folder::location at = folder.find(read.name);
    if (!at) detail::fail_missing(folder, read.name);
    detail::require_tensor(at, read.shape);
    detail::read_converted(*at.file, *at.entry, read.start, read.count, to,
                           bytes + static_cast<std::size_t>(read.to_offset) * size_of(to));
  }
}

/// The whole tensor.
inline void load_tensor(const hf_folder& folder, std::string_view family, const named_shape& tensor, dtype to, void* out) {
  const std::vector<std::int64_t> zero(tensor.shape.size(), 0);
  load_box(folder, family, tensor.name, tensor.shape, zero, tensor.shape, to, out);
}

struct checkpoint_report {
  std::size_t expected = 0;             ///< tensors on disk that the model uses
  std::vector<std::string> unexpected;  ///< tensors that belong to no parameter: they are ignored
  std::vector<std::string> warnings;    ///< one line each, for the user
};

/// Compares a folder with what the config asks for, reading no tensor. Missing tensors, wrong shapes and types that
/// cannot be loaded are input_error; tensors nobody asked for are reported. (A head that is tied and there all the same is read.)
inline checkpoint_report check_checkpoint(const hf_folder& folder, const model_config& config) {
  const family_names& names = names_of(config.family);
  checkpoint_report report;
  report.warnings = folder.warnings();
  std::vector<std::string> used;
  std::string first_missing;
  std::size_t missing = 0;
  const auto lack = [&](const std::string& name) {
    if (missing++ == 0) first_missing = name;
  };
  for (const named_shape& tensor : memory_tensors(config)) {
    const hf_folder::location whole = detail::find_whole(folder, names, tensor.name);
    const bool fused = detail::fused_kind(tensor.name) != detail::fused::none && !names.fused_on_disk();
    if (whole) {
      detail::require_tensor(whole, tensor.shape);
      used.push_back(whole.entry->name);
    }
    if (whole && !fused) continue;
    for (const tensor_write& part : plan_writes(config.family, tensor.name, tensor.shape)) {
      const hf_folder::location at = folder.find(part.name);
      if (whole && at)
        throw input_error(folder.path(), "tensor " + in_quotes(part.name),
                          "is there beside the fused tensor " + in_quotes(whole.entry->name) + "; remove one of them");
      if (whole) continue;
      if (!at) {
        lack(part.name);
        continue;
      }
      detail::require_tensor(at, part.shape);
      used.push_back(part.name);
    }
  }
  if (missing > 0) detail::fail_missing(folder, first_missing, missing - 1);
  if (config.tied) detail::require_tied_head(folder);
  report.expected = used.size();
  std::sort(used.begin(), used.end());
  for (std::string& name : folder.names())
    if (!std::binary_search(used.begin(), used.end(), name)) report.unexpected.push_back(std::move(name));
  if (!report.unexpected.empty())
    report.warnings.push_back(std::to_string(report.unexpected.size()) +
                              " tensors belong to no parameter and are ignored, the first is " +
                              in_quotes(report.unexpected.front()));
  return report;
}

}  // namespace plait::inline v0_1::io
