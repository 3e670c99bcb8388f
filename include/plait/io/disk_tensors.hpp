#pragma once
// A box of a tensor in memory as reads of exactly its bytes on disk, and the way back, which serves export.
#include <algorithm>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/io/memory_tensors.hpp"
#include "plait/io/safetensors.hpp"

namespace plait::inline v0_1::io {

namespace detail {

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

}  // namespace detail

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

}  // namespace plait::inline v0_1::io
