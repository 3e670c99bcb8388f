#pragma once
// Tensors of a model folder, whole or a box of one, and whether the folder has what config.json asks for. Checkpoints whose experts are
// fused on disk are read, too.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/io/convert.hpp"
#include "plait/io/disk_tensors.hpp"
#include "plait/io/hf_folder.hpp"

namespace plait::inline v0_1::io {

namespace detail {

/// Reads a box with conversion; the buffer between is at most 8 MiB (or one innermost row).
inline void read_converted(const safetensors_file& file, const tensor_entry& entry, std::vector<std::int64_t> start,
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
