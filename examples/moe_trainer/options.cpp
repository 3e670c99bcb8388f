#include "options.hpp"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "command_line_errors.hpp"
#include "plait/version.hpp"

namespace trainer {
namespace {

template <class T = std::int64_t>
T number(const std::string& text, const std::string& what) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) throw usage_error(what + ": " + text + " is too large or too small");
  if (error != std::errc() || end != text.data() + text.size()) throw usage_error(what + ": '" + text + "' is not a whole number");
  return value;
}

std::vector<std::int64_t> numbers(const std::string& list, const std::string& what) {
  std::vector<std::int64_t> out;
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t comma = std::min(list.find(',', at), list.size());
    out.push_back(number(list.substr(at, comma - at), what));
    at = comma + 1;
  }
  return out;
}

struct axes {
  std::int64_t fsdp = 1, tp = 1, ep = 0;  // ep 0: not given
};

axes parse_mesh(const std::string& text) {
  axes a;
  std::size_t at = 0;
  bool seen_fsdp = false, seen_tp = false;
  while (at < text.size()) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string item = text.substr(at, comma - at);
    at = comma + 1;
    const std::size_t equals = item.find('=');
    if (equals == std::string::npos) throw usage_error("--mesh: '" + item + "' is not of the form axis=size; write --mesh fsdp=2,tp=2");
    const std::string name = item.substr(0, equals);
    const std::int64_t size = number(item.substr(equals + 1), "--mesh " + name);
    if (size < 1 || size > 4096) throw usage_error("--mesh: " + name + "=" + std::to_string(size) + " is not between 1 and 4096");
    bool twice = false;
    if (name == "fsdp") twice = std::exchange(seen_fsdp, true), a.fsdp = size;
    else if (name == "tp") twice = std::exchange(seen_tp, true), a.tp = size;
    else if (name == "ep") twice = a.ep != 0, a.ep = size;
    else if (name == "dp" || name == "cp" || name == "pp") throw usage_error("--mesh: the axis name " + name + " is reserved; use fsdp, tp and ep");
    else throw usage_error("--mesh: there is no axis '" + name + "'; the axes are fsdp, tp and ep");
    if (twice) throw usage_error("--mesh: " + name + " is given twice");
  }
  return a;
}

/// fsdp, tp and ep as sizes of the atomic axes.
plait::mesh_shape atoms_of(const axes& a, bool ep) {
  if (a.ep != 0 && !ep) throw usage_error("--mesh: ep=" + std::to_string(a.ep) + " cuts the experts, but --ep was not given; add --ep");
  if (ep && a.ep == 0 && a.tp == 1)
    throw usage_error("--ep shares the tp axis, which has one rank here; give --mesh tp=2 or more, or a size of its own with ep=N");
  std::int64_t inner = 1;
  if (a.ep != 0) {
    if (a.ep % a.tp != 0)
      throw usage_error("--mesh: tp=" + std::to_string(a.tp) + " does not divide ep=" + std::to_string(a.ep) + "; make ep a multiple of tp");
    if ((a.fsdp * a.tp) % a.ep != 0)
      throw usage_error("--mesh: ep=" + std::to_string(a.ep) + " does not divide fsdp x tp = " + std::to_string(a.fsdp * a.tp) +
                        "; choose an ep that does");
    inner = a.ep / a.tp;
  }
  plait::mesh_shape m;
  m.atoms = 3;
  m.size[0] = static_cast<int>(a.fsdp / inner);
  m.size[1] = static_cast<int>(inner);
  m.size[2] = static_cast<int>(a.tp);
  if (m.ranks() > 1024) throw usage_error("--mesh: " + std::to_string(m.ranks()) + " ranks are too many; 1024 is the limit");
  return m;
}

/// A sensible mesh for N ranks: tp 2 where SP or EP ask for one, FSDP over the rest.
axes mesh_for(std::int64_t ranks, bool sp, bool ep) {
  if (ranks < 1 || ranks > 1024) throw usage_error("--ranks: " + std::to_string(ranks) + " is not between 1 and 1024");
  axes a;
  a.tp = (sp || ep) && ranks % 2 == 0 ? 2 : ((sp || ep) ? ranks : 1);
  a.fsdp = ranks / a.tp;
  return a;
}

/// CLI11 takes -1 for a seed, and the largest number for what is larger.
template <class T = std::int64_t>
CLI::Validator whole() {
  return {[](std::string& text) {
            try {
              number<T>(text, "");
            } catch (const usage_error& e) {
              return std::string(e.what()).substr(2);
            }
            return std::string();
          }, ""};
}

}  // namespace

std::optional<options> parse(int argc, char** argv, int& exit_code) {
  options o;
  std::string mesh, dtype = "f32", recompute = "none", kv_heads = "cut", ep_mode, sums = "rank-order";
  std::vector<std::string> ids, stop_ids;
  std::optional<std::int64_t> ranks;
  plait::launch_flags process;
  CLI::App app{"Trains, evaluates and runs mixture-of-experts transformers under parallelism plans that are checked as types."};
  app.name("moe_trainer");
  app.require_subcommand(1);
  app.set_version_flag("--version", "moe_trainer " + std::to_string(PLAIT_VERSION_MAJOR) + "." + std::to_string(PLAIT_VERSION_MINOR) + "." +
                                        std::to_string(PLAIT_VERSION_PATCH));
  const auto common = [&](CLI::App* sub) {
    sub->add_option("--model", o.model, "Hugging Face folder (config.json and safetensors), a checkpoint, or shards of PyTorch's distributed writer");
    sub->add_option("--mesh", mesh, "axis sizes, default 1: fsdp=2,tp=2 or, with --ep, fsdp=4,ep=4");
    sub->add_option("--ranks", ranks, "shorthand for a sensible mesh of N ranks")->check(whole());
    sub->add_flag("--sp", o.sp, "sequence parallelism: the residual stream is cut by sequence over tp");
    sub->add_option("--kv-heads", kv_heads, "cut: key and value heads are cut over tp; replicate: each rank has all and takes those that its queries need")
        ->check(CLI::IsMember({"cut", "replicate"}));
    sub->add_flag("--ep", o.ep, "expert parallelism: experts over tp, or over ep=N ranks");
    sub->add_option("--ep-mode", ep_mode, "gather: experts' ranks gather all tokens; dispatch: tokens are sent to their experts (default: dispatch, unless it sends more bytes)")
        ->check(CLI::IsMember({"gather", "dispatch"}));
    sub->add_option("--backend", o.backend, "auto, cpu or cuda; auto takes a GPU where there is one")->check(CLI::IsMember({"auto", "cpu", "cuda"}));
    sub->add_option("--dtype", dtype, "f32, bf16 (master weights, moments and gradients in float32) or bf16-states (only gradients in float32)")
        ->check(CLI::IsMember({"f32", "bf16", "bf16-states"}));
    sub->add_option("--seed", o.seed, "of fresh weights and of drawn tokens")->check(whole<std::uint64_t>())->capture_default_str();
    sub->add_flag("--check", o.check, "compare every collective between ranks before data move");
    sub->add_option("--threads", o.threads, "threads of each rank's dense products (default, 0: the cores divided among the ranks)")->check(CLI::Range(0, 1024));
    sub->add_option("--batch", o.batch, "rows a step (default: all, of a text 64 at most), of eval the first rows, of generate prompts at a time (both: all)")->check(whole());
  };
  const auto of_a_step = [&](CLI::App* sub) {
    sub->add_option("--tokens", o.tokens, "safetensors with input_ids [B,S], or text (tokens of the model's tokenizer; bytes where it has none)");
    sub->add_option("--seq", o.sequence, "tokens a row, where --tokens is a text")->check(whole())->capture_default_str();
    sub->add_option("--recompute", recompute, "none, layer or experts: what the backward computes again")->check(CLI::IsMember({"none", "layer", "experts"}));
    sub->add_option("--grad-accumulation", o.accumulation, "slices of the step's rows")->check(whole())->capture_default_str();
  };
  const auto processes = [&](CLI::App* sub) {
    const char* const group = "Processes (default: ranks are threads of this one)";
    sub->add_option("--processes", o.processes, "start N processes on this machine, a rank each")->check(CLI::Range(1, 1024))->group(group);
    sub->add_option("--rank", process.rank, "which process this is; without it torchrun, MPI or Slurm say so")->check(CLI::Range(0, 1023))->group(group);
    sub->add_option("--world-size", process.size, "of how many processes")->check(CLI::Range(1, 1024))->group(group);
    sub->add_option("--local-rank", process.local_rank, "which of this machine's GPUs to take (default: by the order of ranks)")->check(CLI::Range(0, 1023))->group(group);
    sub->add_option("--rendezvous", process.rendezvous, "where processes meet: tcp:HOST:PORT (rank 0's address) or file:PATH")->group(group);
    sub->add_option("--sums", sums, "between GPUs: rank-order (the bits of ranks that share a GPU) or nccl (NCCL's reductions)")->check(CLI::IsMember({"rank-order", "nccl"}))->group(group);
    sub->add_option("--deadline", o.deadline, "seconds that joining, or any one operation, may take")->capture_default_str()->group(group);
  };
  CLI::App* train = app.add_subcommand("train", "train; without --model a small MoE with fresh weights");
  common(train);
  of_a_step(train);
  processes(train);
  o.steps = 100;
  train->add_option("--steps", o.steps, "final step number")->check(whole())->capture_default_str();
  train->add_option("--lr", o.rate.peak, "AdamW learning rate")->capture_default_str();
  train->add_option("--warmup", o.rate.warmup, "steps over which the learning rate rises to --lr")->check(whole())->capture_default_str();
  std::string schedule = "constant";
  train->add_option("--lr-schedule", schedule, "what follows, until --steps: constant, linear or cosine")->check(CLI::IsMember({"constant", "linear", "cosine"}))->capture_default_str();
  CLI::Option* const least_rate = train->add_option("--min-lr", o.rate.least, "where linear and cosine end")->capture_default_str();
  train->add_option("--weight-decay", o.weight_decay, "on every parameter")->capture_default_str();
  train->add_option("--clip", o.clip, "global gradient norm; 0 turns clipping off")->capture_default_str();
  train->add_option("--log", o.log, "JSON Lines, one row a step; rows of steps that are done again go to FILE.replaced");
  train->add_option("--export", o.export_to, "write a Hugging Face folder at the end, or another one if that fails");
  double export_gigabytes = 5;
  train->add_option("--export-shard-size", export_gigabytes, "gigabytes in one file of the export, at most")->capture_default_str();
  train->add_option("--save", o.save_to, "folder for checkpoints of weights, optimizer and position; without --save-every one at the end");
  train->add_option("--save-every", o.save_every, "steps between two checkpoints")->check(whole());
  train->add_option("--keep", o.keep, "how many checkpoints stay in the folder; 0: all")->check(whole())->capture_default_str();
  train->add_flag("--save-wait", o.save_wait, "wait until a checkpoint is on disk instead of writing it beside the next steps");
  train->add_option("--resume", o.resume_from, "continue from a checkpoint, or from the latest one of a --save folder, under any plan");
  CLI::App* eval = app.add_subcommand("eval", "loss and perplexity of all rows, or of the first --batch N; the last line is a JSON object");
  common(eval);
  of_a_step(eval);
  processes(eval);
  eval->add_option("--dump", o.dump, "one forward and backward of these rows at once: safetensors with logits and grad.<name>, float32");
  CLI::App* generate = app.add_subcommand("generate", "continue prompts: text for text, a JSON object a prompt for ids");
  common(generate);
  processes(generate);
  generate->add_option("--prompt", o.prompts, "text; may be given several times")->allow_extra_args(false);
  generate->add_option("--prompts", o.prompts_file, "file with a prompt a line");
  generate->add_option("--prompt-ids", ids, "token ids, separated by commas; may be given several times")->allow_extra_args(false);
  generate->add_option("--max-new-tokens,--new-tokens", o.new_tokens, "tokens to append at most")->check(whole())->capture_default_str();
  generate->add_option("--temperature", o.temperature, "divides the logits before a token is drawn; 0 takes the most probable one")->capture_default_str();
  CLI::Option* const top_k = generate->add_option("--top-k", o.top_k, "draw among the k most probable tokens; 0: all")->check(whole());
  CLI::Option* const top_p = generate->add_option("--top-p", o.top_p, "draw among the fewest tokens that have this share of the probability");
  generate->add_option("--stop-id", stop_ids, "token ids that end a row, separated by commas, beside the model's own")->allow_extra_args(false);
  generate->add_flag_callback("--no-cache", [&o] { o.cache = false; }, "compute all tokens again for every new one instead of keeping keys and values");
  generate->add_flag("--json", o.json, "one JSON object a prompt");
  CLI::App* checkpoint = app.add_subcommand("checkpoint", "look at checkpoints: ls, verify, diff, merge");
  checkpoint->require_subcommand(1);
  std::size_t folders = 0;
  const auto tool = [&](const char* name, const char* what, std::size_t needed) {
    CLI::App* sub = checkpoint->add_subcommand(name, what);
    sub->add_option("folders", o.folders, needed == 1 ? "a checkpoint or a --save folder" : "two folders");
    sub->callback([&o, &folders, name, needed] { o.tool = name, folders = needed; });
  };
  tool("ls", "list a folder's checkpoints", 1);
  tool("verify", "read everything and compare it with the digests that were saved", 1);
  tool("diff", "compare two checkpoints tensor by tensor, whatever plans wrote them", 2);
  tool("merge", "CHECKPOINT OUT: one Hugging Face folder from all shards", 2);
  CLI::App* explain = app.add_subcommand("explain", "every parameter and every collective of a step, without running it");
  common(explain);
  of_a_step(explain);
  explain->add_flag("--json", o.json, "one JSON object");
  explain->add_option("--rank", o.rank, "whose shapes and bytes")->check(whole())->capture_default_str();

  exit_code = 2;
  try {
    app.parse(argc, argv);
    if (train->parsed()) o.run = command::train;
    if (eval->parsed()) o.run = command::eval;
    if (generate->parsed()) o.run = command::generate;
    if (explain->parsed()) o.run = command::explain;
    if (checkpoint->parsed()) o.run = command::checkpoint;
    o.dtype = dtype == "bf16" ? plait::training_dtype::bf16 : dtype == "f32" ? plait::training_dtype::f32 : plait::training_dtype::bf16_states;
    o.repeat_heads = kv_heads == "replicate";
    o.recompute = recompute == "layer" ? plait::recomputation::layer : recompute == "experts" ? plait::recomputation::experts : plait::recomputation::none;
    if (!ep_mode.empty() && !o.ep) throw usage_error("--ep-mode says how tokens come to experts on other ranks, but --ep was not given; add --ep");
    if (!ep_mode.empty()) o.ep_mode = ep_mode == "dispatch" ? plait::ep_mode::dispatch : plait::ep_mode::gather;
    o.nccl_sums = sums == "nccl";
    o.launch = plait::detect_launch(process);
    if (o.processes > 0 && o.launch.by == "--processes") o.processes = 0;  // this is one of them
    if (o.processes > 0 && o.launch.several())
      throw usage_error("--processes starts processes, but " + o.launch.by + " has done so already; leave it out");
    const int world = o.processes > 0 ? o.processes : o.launch.size;
    if (world > 1 && !ranks && mesh.empty()) ranks = world;
    if (ranks && !mesh.empty()) throw usage_error("--ranks and --mesh say the same thing; give one of them");
    o.mesh = atoms_of(ranks ? mesh_for(*ranks, o.sp, o.ep) : parse_mesh(mesh), o.ep);
    if (world > 1 && o.mesh.ranks() != world && (train->parsed() || eval->parsed() || generate->parsed()))
      throw usage_error("the mesh has " + std::to_string(o.mesh.ranks()) + " ranks, but there are " + std::to_string(world) +
                        " processes; every process is one rank, so give a --mesh of " + std::to_string(world) + " ranks or start as many processes as it has");
    for (const CLI::App* sub : app.get_subcommands())
      for (const CLI::Option* option : sub->get_options()) {
        const std::string name = option->get_name();
        for (const std::string& part : option->results())  // as of a shell variable that is not set
          if (part.empty() && !name.starts_with("--prompt")) throw usage_error(name + ": is empty; give a value, or leave the flag out");
        if (option->count() == 0 || option->get_group().starts_with("Processes") || name == "--threads") continue;
        std::string value;
        for (const std::string& part : option->results()) value += (value.empty() ? "" : " ") + part;
        o.given.emplace_back(name, value);
      }
    if (o.folders.size() != folders)
      throw usage_error("checkpoint " + o.tool + ": needs " + (folders == 1 ? "one folder" : "two folders") + ", " + std::to_string(o.folders.size()) + " given");
    for (const std::string& folder : o.folders)
      if (folder.empty()) throw usage_error("checkpoint " + o.tool + ": the name of a folder is empty; give one");
    if (o.save_every && *o.save_every < 1) throw usage_error("--save-every: " + std::to_string(*o.save_every) + " is below 1");
    if (o.keep < 0) throw usage_error("--keep: " + std::to_string(o.keep) + " is negative; 0 keeps all");
    if (o.save_to.empty() && (o.save_every || o.keep != 0 || o.save_wait)) throw usage_error("--save-every, --keep and --save-wait need --save DIR");
    if (!(export_gigabytes > 0 && export_gigabytes <= 1e6)) throw usage_error("--export-shard-size: is not a number above 0 and at most 1e6");
    o.export_shard_bytes = static_cast<std::uint64_t>(export_gigabytes * 1e9);
    if (o.steps < 0) throw usage_error("--steps: " + std::to_string(o.steps) + " is negative");
    if (o.accumulation < 1) throw usage_error("--grad-accumulation: " + std::to_string(o.accumulation) + " is below 1");
    if (o.batch && *o.batch < 1) throw usage_error("--batch: " + std::to_string(*o.batch) + " is below 1");
    if (o.sequence < 2) throw usage_error("--seq: " + std::to_string(o.sequence) + " is below 2; a row needs a token and its next");
    if (o.new_tokens < 0) throw usage_error("--max-new-tokens: " + std::to_string(o.new_tokens) + " is negative");
    for (const auto& [flag, value] : {std::pair("--lr", o.rate.peak), std::pair("--min-lr", o.rate.least), std::pair("--weight-decay", o.weight_decay), std::pair("--clip", o.clip)})
      if (!(value >= 0 && std::isfinite(value))) throw usage_error(std::string(flag) + ": is not a finite number of at least 0");
    o.rate.decay = schedule == "linear" ? plait::learning_rate_decay::linear : schedule == "cosine" ? plait::learning_rate_decay::cosine : plait::learning_rate_decay::none;
    o.rate.last = o.steps;
    if (o.rate.warmup < 0) throw usage_error("--warmup: " + std::to_string(o.rate.warmup) + " is negative");
    if (o.rate.warmup > o.steps)
      throw usage_error("--warmup: " + std::to_string(o.rate.warmup) + " is more than the " + std::to_string(o.steps) + " of --steps; the learning rate would never reach --lr");
    if (least_rate->count() > 0 && o.rate.decay == plait::learning_rate_decay::none) throw usage_error("--min-lr is where a falling learning rate ends; give --lr-schedule linear or cosine");
    if (o.rate.least > o.rate.peak) throw usage_error("--min-lr: is above --lr");
    if (!(o.deadline >= 0.5 && o.deadline <= 1e6)) throw usage_error("--deadline: is not a number of seconds from 0.5 to 1e6");
    if (!(o.temperature >= 0 && o.temperature <= 1e6)) throw usage_error("--temperature: is not a number from 0 (greedy) to 1e6");
    if (o.top_k < 0) throw usage_error("--top-k: " + std::to_string(o.top_k) + " is negative; 0 keeps all tokens");
    if (!(o.top_p > 0 && o.top_p <= 1)) throw usage_error("--top-p: is not above 0 and at most 1; 1 keeps all tokens");
    if (o.temperature == 0 && (top_k->count() > 0 || top_p->count() > 0))
      throw usage_error("--top-k and --top-p are for drawing tokens, but without a --temperature above 0 the most probable one is taken");
    for (const std::string& list : ids) o.prompt_ids.push_back(numbers(list, "--prompt-ids"));
    for (const std::string& list : stop_ids)
      for (const std::int64_t id : numbers(list, "--stop-id")) o.stop_ids.push_back(id);
    const int kinds = !o.prompts.empty() + !o.prompts_file.empty() + !o.prompt_ids.empty();
    if (o.run == command::generate && kinds == 0) throw usage_error("generate: no prompt; give --prompt TEXT, --prompts FILE or --prompt-ids 1,2,3");
    if (kinds > 1) throw usage_error("--prompt, --prompts and --prompt-ids say the same thing; give one of them");
    if (o.run != command::train && o.run != command::explain && o.run != command::checkpoint && o.model.empty()) throw usage_error("--model is missing; name a Hugging Face folder or a checkpoint");
    if (o.run == command::eval && o.tokens.empty()) throw usage_error("eval: --tokens is missing; name a file of tokens");
    if (o.run == command::explain && (o.rank < 0 || o.rank >= o.mesh.ranks())) throw usage_error("--rank: there is no rank " + std::to_string(o.rank) + "; the mesh has " + std::to_string(o.mesh.ranks()) + ", counted from 0");
    return o;
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) {
      exit_code = app.exit(e);
      return std::nullopt;
    }
    std::fprintf(stderr, "moe_trainer: %s\n", explained(app, e).c_str());
  } catch (const usage_error& e) {
    std::fprintf(stderr, "moe_trainer: %s\n", e.what());
  } catch (const plait::launch_error& e) {
    std::fprintf(stderr, "moe_trainer: %s\n", e.what());
  }
  return std::nullopt;
}

}  // namespace trainer
