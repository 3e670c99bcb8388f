#pragma once
// What the command line says. Parsed in options.cpp; it and command_line_errors.hpp alone know CLI11.
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "plait/model/family.hpp"
#include "plait/mesh/mesh_shape.hpp"
#include "plait/process/launch.hpp"
#include "plait/train/learning_rate.hpp"

namespace plait::inline v0_1 {
class process_world;
}

namespace trainer {

inline constexpr std::int64_t most_tokens_of_a_step = std::int64_t{1} << 28;

/// Anything wrong with flags or files: one line, exit code 2.
struct usage_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class command { train, eval, generate, explain, checkpoint };

struct options {
  command run = command::train;
  std::string model, tokens, backend = "auto";
  plait::mesh_shape mesh{};  // fsdp_outer, fsdp_inner, tp
  bool sp = false, ep = false;
  std::optional<plait::ep_mode> ep_mode;  // not given: dispatch, unless it sends more bytes
  bool repeat_heads = false;  // key and value heads whole on every rank of tp
  plait::training_dtype dtype = plait::training_dtype::f32;
  std::uint64_t seed = 1234;
  bool check = false;
  int threads = 0;  // of each rank; 0: the cores divided among the ranks

  std::int64_t steps = 0;
  plait::learning_rate rate;  // its last step is `steps`
  double weight_decay = 0.01, clip = 1.0;
  std::optional<std::int64_t> batch;
  std::int64_t sequence = 64;  // tokens a row of text
  std::int64_t accumulation = 1;
  plait::recomputation recompute = plait::recomputation::none;
  std::string log, export_to, dump;
  std::uint64_t export_shard_bytes = 0;  // of one safetensors file of an export

  std::string save_to, resume_from;
  std::optional<std::int64_t> save_every;
  std::int64_t keep = 0;
  bool save_wait = false;

  std::string tool;                 // of checkpoint: ls, verify, diff, merge
  std::vector<std::string> folders;

  std::vector<std::string> prompts;
  std::string prompts_file;
  std::vector<std::vector<std::int64_t>> prompt_ids;
  std::vector<std::int64_t> stop_ids;
  std::int64_t new_tokens = 16, top_k = 0;
  double temperature = 0, top_p = 1;
  bool cache = true;
  bool json = false;
  int rank = 0;

  int processes = 0;                                        // to start; 0: this one runs
  plait::launch launch;                                     // which process of how many this is
  bool nccl_sums = false;                                   // NCCL adds, instead of the ranks in their order
  double deadline = 300;                                    // seconds
  std::vector<std::pair<std::string, std::string>> given;   // what must be the same on all processes
  std::shared_ptr<plait::process_world> world;              // null: the ranks are threads of this process
  bool leads() const { return launch.rank == 0; }           // speaks, and writes files that there is one of
};

/// Empty if the program should end at once with `exit_code` (help, version, a mistake that has been reported).
std::optional<options> parse(int argc, char** argv, int& exit_code);

}  // namespace trainer
