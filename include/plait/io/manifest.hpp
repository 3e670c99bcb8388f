#pragma once
// What a checkpoint folder holds, as values, and their text (plait.json). A tensor is a list of chunks that tile its global shape
// exactly once; a chunk is a box that lies row-major and contiguous at a byte position of a file. A file is a list of blocks of one
// size with a digest each, so that a reader of any part verifies what it reads and nothing else. manifest_reader.hpp reads it back.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plait/io/error.hpp"
#include "plait/io/hash.hpp"
#include "plait/io/json.hpp"
#include "plait/io/json_lines.hpp"
#include "plait/io/safetensors.hpp"

namespace plait::inline v0_1::io {

inline constexpr int max_chunk_rank = 4;
inline constexpr std::int64_t manifest_version = 1;
inline constexpr const char* manifest_name = "plait.json";
inline constexpr std::int64_t default_block_bytes = std::int64_t{4} << 20;

/// A box of a tensor: entries from `rank` on are unused.
struct tensor_box {
  std::array<std::int64_t, max_chunk_rank> start{}, count{};

  std::int64_t volume(int rank) const {
    std::int64_t n = 1;
    for (int d = 0; d < rank; ++d) n *= count[static_cast<std::size_t>(d)];
    return n;
  }
};

/// The common part of two boxes; false where there is none.
inline bool intersect(const tensor_box& a, const tensor_box& b, int rank, tensor_box& out) {
  for (std::size_t d = 0; d < static_cast<std::size_t>(rank); ++d) {
    const std::int64_t low = std::max(a.start[d], b.start[d]), high = std::min(a.start[d] + a.count[d], b.start[d] + b.count[d]);
    if (low >= high) return false;
    out.start[d] = low;
    out.count[d] = high - low;
  }
  return true;
}

struct tensor_chunk {
  int file = 0;
  std::uint64_t position = 0;  ///< bytes from the start of the file
  tensor_box box;
};

/// What a stored tensor is to the run that wrote it.
enum class tensor_role : std::uint8_t { parameter, master, moment1, moment2 };
inline constexpr tensor_role all_roles[] = {tensor_role::parameter, tensor_role::master, tensor_role::moment1, tensor_role::moment2};
constexpr const char* name_of(tensor_role role) {
  switch (role) {
    case tensor_role::parameter: return "parameter";
    case tensor_role::master: return "master";
    case tensor_role::moment1: return "moment1";
    case tensor_role::moment2: return "moment2";
  }
  return "?";
}
/// The name of a tensor inside its safetensors file.
inline std::string key_of(tensor_role role, std::string_view name) {
  return role == tensor_role::parameter ? std::string(name) : std::string("optimizer.") + name_of(role) + "." + std::string(name);
}

struct stored_tensor {
  std::string name;  ///< the parameter, as it is called in memory
  tensor_role role = tensor_role::parameter;
  element type = element::f32;
  int rank = 0;
  std::array<std::int64_t, max_chunk_rank> shape{};
  std::string layout;  ///< of the run that wrote it, for people
  std::vector<tensor_chunk> chunks;

  std::span<const std::int64_t> extents() const { return {shape.data(), static_cast<std::size_t>(rank)}; }
  std::int64_t elements() const {
    std::int64_t n = 1;
    for (int d = 0; d < rank; ++d) n *= shape[static_cast<std::size_t>(d)];
    return n;
  }
};

struct stored_file {
  std::string name;
  std::uint64_t bytes = 0;
  std::uint64_t header = 0;     ///< bytes before the first tensor; 0: no tensors in it
  std::vector<digest> blocks;   ///< of each block; empty: unknown (a folder written by another program)
};

struct training_state {
  std::int64_t step = 0;         ///< steps done
  std::int64_t rows_seen = 0;    ///< position in the data
  std::int64_t tokens_seen = 0;
  std::uint64_t seed = 0;        ///< of fresh weights; the only random stream of a run
  std::string tokens;            ///< digest and shape of the data, in which rows_seen counts; empty: not known
};

struct manifest {
  std::string written_by;  ///< program and version
  training_state training;
  std::string family, plan;     ///< for people
  digest plan_digest;           ///< of names, layouts and mesh
  std::string element_types;    ///< f32 or bf16
  std::vector<std::string> axes;
  std::vector<std::int64_t> sizes;
  std::int64_t block_bytes = default_block_bytes;
  std::vector<stored_file> files;
  std::vector<stored_tensor> tensors;

  const stored_tensor* find(tensor_role role, std::string_view name) const {
    for (const stored_tensor& t : tensors)
      if (t.role == role && t.name == name) return &t;
    return nullptr;
  }
  bool has(tensor_role role) const {
    for (const stored_tensor& t : tensors)
      if (t.role == role) return true;
    return false;
  }
  std::uint64_t bytes() const {
    std::uint64_t n = 0;
    for (const stored_file& f : files) n += f.bytes;
    return n;
  }
};

/// plait.json. The last field is the digest of every byte before it.
inline std::string manifest_text(const manifest& m) {
  std::string text = "{\n\"format\":\"plait checkpoint\",\n\"version\":" + std::to_string(manifest_version) + ",\n\"written_by\":";
  const auto quoted = [&](std::string_view value) { append_json_string(text, value); };
  const auto numbers = [&](const auto& values) {
    text += '[';
    bool first = true;
    for (const auto& v : values) text += (std::exchange(first, false) ? "" : ",") + std::to_string(v);
    text += ']';
  };
  quoted(m.written_by);
  text += ",\n\"step\":" + std::to_string(m.training.step) + ",\n\"rows_seen\":" + std::to_string(m.training.rows_seen) +
          ",\n\"tokens_seen\":" + std::to_string(m.training.tokens_seen) + ",\n\"seed\":" + std::to_string(m.training.seed);
  text += ",\n\"tokens\":";
  quoted(m.training.tokens);
  text += ",\n\"family\":";
  quoted(m.family);
  text += ",\n\"plan\":";
  quoted(m.plan);
  text += ",\n\"plan_digest\":\"" + m.plan_digest.text() + "\",\n\"dtype\":";
  quoted(m.element_types);
  text += ",\n\"axes\":[";
  for (std::size_t a = 0; a < m.axes.size(); ++a) {
    if (a > 0) text += ',';
    quoted(m.axes[a]);
  }
  text += "],\n\"sizes\":";
  numbers(m.sizes);
  text += ",\n\"block_bytes\":" + std::to_string(m.block_bytes) + ",\n\"files\":[";
  for (std::size_t f = 0; f < m.files.size(); ++f) {
    text += f > 0 ? ",\n{\"name\":" : "\n{\"name\":";
    quoted(m.files[f].name);
    text += ",\"bytes\":" + std::to_string(m.files[f].bytes) + ",\"header\":" + std::to_string(m.files[f].header) + ",\"blocks\":\"";
    for (const digest& d : m.files[f].blocks) text += d.text();
    text += "\"}";
  }
  text += "],\n\"tensors\":[";
  for (std::size_t i = 0; i < m.tensors.size(); ++i) {
    const stored_tensor& t = m.tensors[i];
    text += i > 0 ? ",\n{\"name\":" : "\n{\"name\":";
    quoted(t.name);
    text += std::string(",\"role\":\"") + name_of(t.role) + "\",\"dtype\":\"" + name_of(t.type) + "\",\"shape\":";
    numbers(t.extents());
    text += ",\"layout\":";
    quoted(t.layout);
    text += ",\"chunks\":[";  // of each: file, position, starts, counts
    for (std::size_t c = 0; c < t.chunks.size(); ++c) {
      const tensor_chunk& k = t.chunks[c];
      text += (c > 0 ? "," : "") + std::to_string(k.file) + "," + std::to_string(k.position);
      for (const auto* side : {&k.box.start, &k.box.count})
        for (int d = 0; d < t.rank; ++d) text += "," + std::to_string((*side)[static_cast<std::size_t>(d)]);
    }
    text += "]}";
  }
  text += "]";
  const digest own = digest_of_text(text);
  return text += ",\n\"digest\":\"" + own.text() + "\"}\n";
}

}  // namespace plait::inline v0_1::io
