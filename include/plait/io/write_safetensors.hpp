#pragma once
// Writing safetensors files. Deterministic: the same tensors and metadata give the same bytes.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "plait/io/file.hpp"
#include "plait/io/safetensors_header.hpp"

namespace plait::inline v0_1::io {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian, and read as they are");

/// What a tensor to be written is called and looks like.
struct tensor_header {
  std::string name;
  element type = element::f32;
  std::vector<std::int64_t> shape;

  std::uint64_t bytes() const {
    std::uint64_t n = 1;
    for (const std::int64_t extent : shape)
      if (extent < 0 || !detail::checked_multiply(n, static_cast<std::uint64_t>(extent), n))
        throw std::invalid_argument("write_safetensors: the shape of " + in_quotes(name) + " is not possible");
    std::uint64_t bits = 0;
    if (!detail::checked_multiply(n, bits_of(type), bits) || bits % 8 != 0)
      throw std::invalid_argument("write_safetensors: the shape of " + in_quotes(name) + " makes no whole number of bytes");
    return bits / 8;
  }
};

struct tensor_to_write {
  std::string name;
  element type = element::f32;
  std::vector<std::int64_t> shape;
  const void* data = nullptr;
};

/// Takes the next bytes of the tensor that is being written.
using tensor_sink = std::function<void(const void* data, std::size_t bytes)>;
/// Called once a tensor, in the order of the file; `index` is the tensor's place in the list given to the writer. It
/// must hand exactly the tensor's bytes to `sink`, in as many pieces as it likes.
using tensor_source = std::function<void(const tensor_header& tensor, std::size_t index, const tensor_sink& sink)>;

/// The order in which tensors lie in a file: by element type (largest alignment first), then by name.
inline std::vector<std::size_t> file_order(const std::vector<tensor_header>& tensors) {
  std::vector<std::size_t> order(tensors.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (tensors[a].type != tensors[b].type) return tensors[a].type > tensors[b].type;
    return tensors[a].name < tensors[b].name;
  });
  return order;
}

/// The 8 length bytes and the header, padded with spaces so that the data begin at a multiple of 8.
inline std::string safetensors_header(const std::vector<tensor_header>& tensors, const std::vector<std::size_t>& order,
                                      const std::map<std::string, std::string>& metadata) {
  if (tensors.size() > max_tensors) throw std::invalid_argument("write_safetensors: more than 1,000,000 tensors");
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    bool first = true;
    for (const auto& [key, value] : metadata) {
      if (!is_utf8(key) || !is_utf8(value)) throw std::invalid_argument("write_safetensors: metadata are not UTF-8");
      if (!std::exchange(first, false)) text += ',';
      append_json_string(text, key);
      text += ':';
      append_json_string(text, value);
    }
    text += '}';
  }
  std::uint64_t at = 0;
  std::vector<std::string_view> names;
  for (const tensor_header& tensor : tensors) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
    throw std::invalid_argument("write_safetensors: the name " + in_quotes(*twice) + " is used twice");
  for (const std::size_t i : order) {
    const tensor_header& tensor = tensors[i];
    if (tensor.name == "__metadata__" || tensor.name.size() > max_name_bytes || !is_utf8(tensor.name))
      throw std::invalid_argument("write_safetensors: " + in_quotes(tensor.name) + " cannot be a tensor's name");
    const std::uint64_t bytes = tensor.bytes();
    if (text.size() > 1) text += ',';
    append_json_string(text, tensor.name);
    text += ":{\"dtype\":\"";
    text += name_of(tensor.type);
    text += "\",\"shape\":[";
    for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
      if (d > 0) text += ',';
      text += std::to_string(tensor.shape[d]);
    }
    text += "],\"data_offsets\":[" + std::to_string(at);
    if (__builtin_add_overflow(at, bytes, &at)) throw std::invalid_argument("write_safetensors: too many bytes");
    text += "," + std::to_string(at) + "]}";
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > max_header_bytes) throw std::invalid_argument("write_safetensors: the header is above 100 MB");
  const std::uint64_t length = text.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out += text;
}

/// Writes a file whose data are pulled tensor by tensor; the file appears whole or not at all. Deterministic: the same
/// tensors and metadata give the same bytes.
inline void write_safetensors(const std::string& path, const std::vector<tensor_header>& tensors,
                              const std::map<std::string, std::string>& metadata, const tensor_source& source) {
  const std::vector<std::size_t> order = file_order(tensors);
  const std::string header = safetensors_header(tensors, order, metadata);
  output_file file(path);
  file.write(header);
  for (const std::size_t i : order) {
    std::uint64_t left = tensors[i].bytes();
    const tensor_sink sink = [&](const void* data, std::size_t bytes) {
      if (bytes > left) throw std::logic_error("write_safetensors: too many bytes for " + in_quotes(tensors[i].name));
      file.write(data, bytes);
      left -= bytes;
    };
    source(tensors[i], i, sink);
    if (left != 0) throw std::logic_error("write_safetensors: too few bytes for " + in_quotes(tensors[i].name));
  }
  file.commit();
}

/// Writes tensors that lie in memory.
inline void write_safetensors(const std::string& path, const std::vector<tensor_to_write>& tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  std::vector<tensor_header> headers;
  for (const tensor_to_write& tensor : tensors) headers.push_back({tensor.name, tensor.type, tensor.shape});
  write_safetensors(path, headers, metadata, [&](const tensor_header& header, std::size_t i, const tensor_sink& sink) {
    sink(tensors[i].data, static_cast<std::size_t>(header.bytes()));
  });
}

}  // namespace plait::inline v0_1::io
