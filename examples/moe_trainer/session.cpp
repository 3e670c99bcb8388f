#include "session.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "plait/io/config.hpp"
#include "plait/train/load_checkpoint.hpp"
#include "plait/process/world.hpp"
#include "processes.hpp"

namespace trainer {
namespace {

/// The demo's model: small, but with everything a large one has.
constexpr const char* small_config = R"({
  "architectures": ["MixtralForCausalLM"],
  "model_type": "mixtral",
  "attention_dropout": 0.0,
  "bos_token_id": null,
  "dtype": "float32",
  "eos_token_id": null,
  "head_dim": 16,
  "hidden_act": "silu",
  "hidden_size": 64,
  "initializer_range": 0.02,
  "intermediate_size": 96,
  "max_position_embeddings": 1024,
  "num_attention_heads": 8,
  "num_experts_per_tok": 2,
  "num_hidden_layers": 2,
  "num_key_value_heads": 4,
  "num_local_experts": 8,
  "output_router_logits": true,
  "rms_norm_eps": 1e-05,
  "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
  "router_aux_loss_coef": 0.01,
  "sliding_window": null,
  "tie_word_embeddings": false,
  "vocab_size": 256
}
)";
constexpr double initial_deviation = 0.05;

/// Files that belong to a model beside its weights and config.json; exports and checkpoints carry them along.
constexpr const char* companion_names[] = {"generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
                                           "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja"};

/// Whether a --model folder is a checkpoint of ours or a folder of them.
bool is_checkpoint(const std::string& folder) { return plait::io::holds_manifest(folder) || !plait::io::steps_in(folder).empty(); }

}  // namespace

plait::io::checkpoint open_saved(const std::string& path, bool speaks) {
  std::vector<std::string> passed_over;
  const std::string folder = plait::io::latest_checkpoint(path, &passed_over);
  for (const std::string& why : passed_over)
    if (speaks) std::fprintf(stderr, "moe_trainer: note: passed over: %s\n", why.c_str());
  return plait::io::open_checkpoint(folder);
}

const plait::family& family_named(const std::string& name) {
  static const std::vector<plait::family> families = {
#if defined(PLAIT_FAMILY_MIXTRAL)
      mixtral_family(),
#endif
#if defined(PLAIT_FAMILY_QWEN3_MOE)
      qwen3_moe_family(),
#endif
#if defined(PLAIT_FAMILY_LLAMA)
      llama_family(),
#endif
#if defined(PLAIT_FAMILY_QWEN3)
      qwen3_family(),
#endif
#if defined(PLAIT_FAMILY_GRANITEMOE)
      granitemoe_family(),
#endif
#if defined(PLAIT_FAMILY_QWEN2_MOE)
      qwen2_moe_family(),
#endif
#if defined(PLAIT_FAMILY_HUNYUAN_V1_MOE)
      hunyuan_v1_moe_family(),
#endif
#if defined(PLAIT_FAMILY_OLMOE)
      olmoe_family(),
#endif
#if defined(PLAIT_FAMILY_DEEPSEEK_V2)
      deepseek_v2_family(),
#endif
#if defined(PLAIT_FAMILY_DEEPSEEK_V3)
      deepseek_v3_family(),
#endif
#if defined(PLAIT_FAMILY_GPT_OSS)
      gpt_oss_family(),
#endif
#if defined(PLAIT_FAMILY_LLAMA4_TEXT)
      llama4_text_family(),
#endif
#if defined(PLAIT_FAMILY_GLM4_MOE)
      glm4_moe_family(),
#endif
#if defined(PLAIT_FAMILY_MINIMAX_M2)
      minimax_m2_family(),
#endif
#if defined(PLAIT_FAMILY_PHIMOE)
      phimoe_family(),
#endif
#if defined(PLAIT_FAMILY_ERNIE4_5_MOE)
      ernie4_5_moe_family(),
#endif
  };
  std::string known;
  for (const plait::family& f : families) {
    if (name == f.name) return f;
    known += (known.empty() ? "" : ", ") + std::string(f.name);
  }
  throw usage_error("family '" + name + "' is not built into this program, which knows " + known + "; build it with -DPLAIT_FAMILIES=" + name);
}

model_files files_of(const plait::io::checkpoint& saved) {
  model_files out;
  plait::io::checkpoint_reader reader(saved);
  for (std::size_t f = 0; f < saved.m.files.size(); ++f) {
    const plait::io::stored_file& file = saved.m.files[f];
    if (file.header != 0) continue;
    std::string text = reader.read_file(static_cast<int>(f));
    if (file.name == "config.json") out.config = plait::io::parse_config(saved.path + "/config.json", std::move(text));
    else out.companions.emplace_back(file.name, std::move(text));
  }
  if (out.config.layers == 0 && !saved.verified) out.config = plait::io::read_config(saved.path);  // another program's folder lists no such files
  if (out.config.layers == 0) throw plait::io::input_error(saved.path, "files", "has no config.json; use another checkpoint");
  return out;
}

session::session(const options& from) : o(from) {
  const std::string saved_in = !o.resume_from.empty() ? o.resume_from : o.model;
  const bool shards = o.resume_from.empty() && !o.model.empty() && plait::io::holds_shards(o.model);
  const bool ours = !o.resume_from.empty() || (!o.model.empty() && is_checkpoint(o.model));
  if (ours) {
    saved = std::make_unique<plait::io::checkpoint>(open_saved(saved_in, o.leads()));
    model_files files = files_of(*saved);
    config = std::move(files.config);
    companions = std::move(files.companions);
    if (!o.resume_from.empty() && !o.model.empty()) {
      const plait::io::model_config asked = is_checkpoint(o.model) ? files_of(open_saved(o.model, false)).config : plait::io::read_config(o.model);
      plait::io::require_model(*saved, asked, false);  // the diff, if it is another model
      config = asked;
    }
    plait::io::require_model(*saved, config, resumes());
  } else if (o.model.empty()) {
    config = plait::io::parse_config("the built-in small model", small_config);
  } else {
    config = plait::io::read_config(o.model);
    read_companions(o.model);
    if (shards) {
      saved = std::make_unique<plait::io::checkpoint>(plait::io::open_shards(o.model));
      plait::io::require_model(*saved, config, false);
    }
  }
  family = &family_named(config.family);
  if (o.ep) ep_mode = o.ep_mode.value_or(plait::cheaper_ep_mode(*family, o.sp, o.mesh, config.top_k));
  plan = &plait::choose_plan(*family, o.sp, ep_mode, o.dtype);
  for (const bool sparse : config.sparse_layer) sparse_layers += sparse;
  if (saved == nullptr && !o.model.empty() && o.run != command::explain) {
    folder = std::make_unique<plait::io::hf_folder>(o.model);
    const plait::io::checkpoint_report report = plait::io::check_checkpoint(*folder, config);
    for (const std::string& warning : report.warnings)
      if (o.leads()) std::fprintf(stderr, "moe_trainer: note: %s\n", warning.c_str());
  }
  if (o.run != command::explain) require_agreement(*this);
}

void session::read_companions(const std::string& model) {
  for (const char* name : companion_names) {
    const std::string path = model + "/" + name;
    if (::access(path.c_str(), R_OK) == 0)
      companions.emplace_back(name, plait::io::read_text_file(plait::io::resolve_inside(model, name, model, ""), 256u << 20, path));
  }
}

void naming_kv_heads(const session& s, const std::function<void()>& work) {
  try {
    work();
  } catch (const plait::plan_misfit& e) {
    const std::string_view what = e.what();
    if (what.find("k_proj") == what.npos || what.find("plait[indivisible]") == what.npos || s.plan->repeating_table == nullptr) throw;
    throw plait::plan_misfit(std::string(what) + ", or add --kv-heads replicate");
  }
}

rank_model::rank_model(plait::context& c, const session& s) {
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  const int sharing = s.o.world != nullptr ? s.o.world->local_size() : c.mesh.ranks();
  c.exec.threads = s.o.threads > 0 ? s.o.threads : std::max(1, static_cast<int>(cores) / sharing);
  naming_kv_heads(s, [&] { plait::build_store(c, store, s.table(), plait::numbers_of(s.config), s.use()); });
  if (const std::int64_t n = parameters_of(store); n > 250'000'000 && c.rank == 0 && s.o.leads() && (s.saved || s.folder))  // takes a while
    std::fprintf(stderr, "moe_trainer: note: reading %.1f B parameters from %s\n", 1e-9 * static_cast<double>(n), (s.saved ? s.saved->path : s.o.model).c_str());
  if (s.saved != nullptr) plait::load_checkpoint(c, store, *s.saved, s.resumes());
  else if (s.folder != nullptr) plait::load_weights(c, store, *s.folder, s.config);
  else plait::initialise_weights(c, store, s.o.seed, initial_deviation);
  model = s.plan->make(s.config, store, {s.o.recompute, s.o.repeat_heads});
}

std::int64_t parameters_of(const plait::parameter_store& store) {
  std::int64_t all = 0;
  for (const plait::parameter_slot& p : store.slots) {
    std::int64_t n = 1;
    for (int d = 0; d < p.rank; ++d) n *= p.global[d];
    all += n;
  }
  return all;
}

void on_every_rank(const session& s, const std::function<void(plait::context&, rank_model&)>& body) {
  run_ranks(s, [&](plait::context& c) {
    rank_model m(c, s);
    body(c, m);
  });
}

std::string parent_folder(const std::string& path) {
  const std::string_view bare = std::string_view(path).substr(0, path.find_last_not_of('/') + 1);
  const std::size_t slash = bare.find_last_of('/');
  return std::string(slash == bare.npos ? "." : slash == 0 ? "/" : bare.substr(0, slash));
}

void require_writable(const std::string& flag, const std::string& path, output kind) {
  if (path.empty()) return;
  const std::string what = flag + " " + path + ": ";
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (kind == output::folder && !S_ISDIR(status.st_mode)) throw usage_error(what + "is not a folder; name a folder, which is made if it is not there");
    if (kind != output::folder && S_ISDIR(status.st_mode)) throw usage_error(what + "is a folder; name a file");
    if (kind == output::file && !S_ISREG(status.st_mode)) throw usage_error(what + "is not a regular file; name another");
    if (kind != output::file && ::access(path.c_str(), W_OK) != 0) throw usage_error(what + "cannot be written to (" + std::strerror(errno) + ")");
    if (kind != output::file) return;
  } else if (errno != ENOENT) {
    throw usage_error(what + "cannot be written to (" + std::strerror(errno) + ")");
  }
  const std::string folder = parent_folder(path);
  if (::stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) throw usage_error(what + "the folder " + folder + " is not there; create it first");
  if (::access(folder.c_str(), W_OK) != 0) throw usage_error(what + "the folder " + folder + " cannot be written to");
}

void require_no_model(const std::string& flag, const std::string& path) {
  if (path.empty()) return;
  if (plait::io::holds_manifest(path)) throw usage_error(flag + " " + path + ": is a checkpoint; name the folder that it is in, or another one");
  if (is_checkpoint(path)) return;
  if (::access((path + "/config.json").c_str(), F_OK) == 0 || plait::io::holds_shards(path))
    throw usage_error(flag + " " + path + ": holds a model; name another folder");
}

void require_no_checkpoint(const std::string& flag, const std::string& path) {
  if (!path.empty() && is_checkpoint(path)) throw usage_error(flag + " " + path + ": holds checkpoints; name another folder");
}

}  // namespace trainer
