#pragma once
// Tensors out of the ranks' shards: whole, on rank 0, one after the other.
#include <functional>
#include <string>

#include "session.hpp"

namespace trainer {

/// A whole parameter, row-major in the type asked for. Called in the same order on every rank; only the writer looks at the bytes.
using whole_tensor = std::function<std::vector<char>(const std::string& memory_name, plait::dtype type)>;

/// Writes config.json, the companions and model.safetensors (or, above `file_bytes` in one file, numbered files and their index) as
/// Hugging Face reads them. A `writer` writes; the others only fetch. A disk that fails is io::output_error, thrown when all tensors have
/// been fetched, so that the other ranks come to the end, too.
void write_model_folder(const std::string& folder, const plait::io::model_config& config, plait::dtype type, std::uint64_t file_bytes,
                        const std::vector<std::pair<std::string, std::string>>& companions, bool writer, const whole_tensor& fetch);

/// config.json with the element type that the weights now have; every other byte as it came.
std::string config_text(const plait::io::model_config& config, plait::dtype type);

/// Why a model of this type could not be written to `folder`, as far as free space says; empty: nothing is in the way.
std::string room_problem(const std::string& folder, const plait::io::model_config& config, plait::dtype type, std::uint64_t file_bytes);

/// The run's model as a Hugging Face folder. Every rank must call it; what went wrong, the same on every rank, or nothing.
std::string export_folder(plait::context& c, rank_model& m, const session& s, const std::string& folder);

/// Writes logits [B,S,V] and grad.<name> in float32. Every rank must call it.
void dump(plait::context& c, rank_model& m, const plait::array& logits, const std::string& path);

}  // namespace trainer
