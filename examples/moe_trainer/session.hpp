#pragma once
// What every command needs: a configuration, a family, a plan, ranks.
#include <functional>
#include <memory>
#include <string>

#include "families.hpp"
#include "options.hpp"
#include "plait/comm/rank_threads.hpp"
#include "plait/io/checkpoint.hpp"
#include "plait/io/hf_folder.hpp"
#include "plait/train/load.hpp"
#include "plait/train/step.hpp"

namespace trainer {

inline constexpr int exit_stopped = 3;  // a signal came, the run's state is saved

/// The backend that --backend names; auto: CUDA where the program has it and finds a GPU, else the CPU.
const plait::backend& backend(const std::string& wanted);

/// What a checkpoint holds beside its tensors: config.json and the files that go with the model (name, bytes).
struct model_files {
  plait::io::model_config config;
  std::vector<std::pair<std::string, std::string>> companions;
};
model_files files_of(const plait::io::checkpoint& saved);

/// A checkpoint, or of a folder of them the latest that is valid; later ones that are not are named on stderr if it `speaks`.
plait::io::checkpoint open_saved(const std::string& path, bool speaks);

/// Everything that is known before the ranks start.
struct session {
  const options& o;
  plait::io::model_config config;
  std::unique_ptr<plait::io::hf_folder> folder;              // where the weights come from, if either;
  std::unique_ptr<plait::io::checkpoint> saved;              // otherwise they are fresh
  std::vector<std::pair<std::string, std::string>> companions;  // tokenizer and generation files that go with the model: name, bytes
  const plait::family* family = nullptr;
  plait::ep_mode ep_mode = plait::ep_mode::none;
  const plait::plan_choice* plan = nullptr;
  std::int64_t sparse_layers = 0;

  /// The parameters' rules and layouts.
  const plait::plan_table& table() const { return plait::table_of(*plan, o.repeat_heads); }
  /// Whether what `c` finds out is to be kept by this process: its own rank's, of threads the first one's.
  bool keeps(const plait::context& c) const { return c.rank == 0 || o.world != nullptr; }
  /// Whether `saved` is continued, with its optimizer's state, rather than only its weights used.
  bool resumes() const { return saved != nullptr && !o.resume_from.empty(); }
  /// Only training needs an optimizer's state, and only a dump of eval gradients beside it.
  plait::store_use use() const {
    return o.run == command::train ? plait::store_use::training : o.dump.empty() ? plait::store_use::inference : plait::store_use::gradients;
  }

  explicit session(const options& from);

 private:
  void read_companions(const std::string& model);
};

/// One rank's model: its shards and the plan's instantiation.
struct rank_model {
  plait::parameter_store store;
  std::unique_ptr<plait::any_model> model;

  rank_model(plait::context& c, const session& s);
};

/// Runs `work`; where it finds too few key and value heads to cut, the error names the flag for that, too.
void naming_kv_heads(const session& s, const std::function<void()>& work);

/// How many numbers the model has.
std::int64_t parameters_of(const plait::parameter_store& store);

/// Runs body once per rank; the first failure of any rank is rethrown here.
void on_every_rank(const session& s, const std::function<void(plait::context&, rank_model&)>& body);

/// The folder in which something of this name lies; a folder's name may end in a slash.
std::string parent_folder(const std::string& path);

/// What a flag names: a folder to write files in, a file that is replaced as a whole, a file or device that is written to as it is.
enum class output { folder, file, log };

/// Fails early, before any work, if it could not be written there.
void require_writable(const std::string& flag, const std::string& path, output kind);
/// Refuses a folder of checkpoints: a model beside them would be passed over by whoever reads the folder.
void require_no_checkpoint(const std::string& flag, const std::string& path);
/// Refuses a folder for checkpoints that is a checkpoint itself, which would be read instead of them, or a model, which they would hide.
void require_no_model(const std::string& flag, const std::string& path);

int train(const options& o);
int eval(const options& o);
int generate(const options& o);
int explain(const options& o);
int checkpoint(const options& o);

}  // namespace trainer
