#pragma once
// Tensors out of the ranks' shards: whole, on rank 0, one after the other.
#include <functional>
#include <string>

#include "plait/io/load_tensors.hpp"
#include "plait/io/write_safetensors.hpp"
#include "session.hpp"

namespace trainer {

/// What a model's folder will hold: config.json and its weights in one file model.safetensors or, where that would be above `file_bytes`,
/// in numbered ones and their index.
struct folder_plan {
  const plait::io::model_config& config;
  plait::dtype type;                             // of what is trained
  std::vector<plait::io::tensor_write> tensors;  // by name
  std::vector<std::vector<std::size_t>> files;   // the tensors in each
  std::uint64_t bytes = 0;                       // of all tensors

  folder_plan(const plait::io::model_config& of, plait::dtype as, std::uint64_t file_bytes);
  plait::dtype type_of(const plait::io::tensor_write& w) const;
  plait::io::tensor_header header_of(const plait::io::tensor_write& w) const;
  std::string file_name(std::size_t f) const;
};

/// A whole parameter, row-major in the type asked for. Called in the same order on every rank; only the writer looks at the bytes.
using whole_tensor = std::function<std::vector<char>(const std::string& memory_name, plait::dtype type)>;

/// Writes what is planned, and the companions, as Hugging Face reads them. A `writer` writes; the others only fetch. A disk that fails is
/// io::output_error, thrown when all tensors have been fetched, so that the other ranks come to the end, too.
void write_model_folder(const std::string& folder, const folder_plan& plan, const std::vector<std::pair<std::string, std::string>>& companions, bool writer,
                        const whole_tensor& fetch);

/// config.json with the element type that the weights now have; every other byte as it came.
std::string config_text(const plait::io::model_config& config, plait::dtype type);

/// Why it could not be written to `folder`, as far as free space says; empty: nothing is in the way.
std::string room_problem(const std::string& folder, const folder_plan& plan);

/// The run's model as a Hugging Face folder. Every rank must call it; what went wrong, the same on every rank, or nothing.
std::string export_folder(plait::context& c, rank_model& m, const session& s, const std::string& folder);

/// Writes logits [B,S,V] and grad.<name> in float32. Every rank must call it.
void dump(plait::context& c, rank_model& m, const plait::array& logits, const std::string& path);

}  // namespace trainer
