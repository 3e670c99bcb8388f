#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "export.hpp"
#include "plait/io/json_lines.hpp"
#include "plait/train/save.hpp"
#include "processes.hpp"
#include "rescue.hpp"
#include "step_rows.hpp"
#include "stop_signals.hpp"
#include "terminal.hpp"
#include "token_source.hpp"

namespace trainer {
namespace {

using clock = std::chrono::steady_clock;

/// What is said while training goes on: a terminal that is gone or a full disk behind stdout does not end it, as an exception would.
template <class... Values>
void say(std::FILE* to, fmt::format_string<Values...> text, Values&&... values) {
  const std::string line = fmt::format(text, std::forward<Values>(values)...);
  std::fwrite(line.data(), 1, line.size(), to);
}

struct expert_load {
  double max_over_mean = 0;
  int idle = 0;
};
expert_load load_of(const std::vector<double>& choices) {
  expert_load load;
  double most = 0, sum = 0;
  for (const double n : choices) {
    most = std::max(most, n);
    sum += n;
    load.idle += n == 0;
  }
  if (sum > 0) load.max_over_mean = most * static_cast<double>(choices.size()) / sum;
  return load;
}

const char* experts_text(const session& s) {
  constexpr const char* text[] = {"", " + expert parallel (tokens gathered)", " + expert parallel (tokens dispatched)"};
  return text[static_cast<std::size_t>(s.ep_mode)];
}

void print_plan(const session& s, const plait::parameter_store& store) {
  const options& o = s.o;
  const std::string experts = s.sparse_layers > 0 ? fmt::format("{} experts (top {}), ", s.config.experts, s.config.top_k) : "";
  say(stdout, "{}: {} layers, hidden {}, {}{} parameters{}\n", s.config.family, s.config.layers, s.config.hidden, experts, parameters_of(store),
      s.folder || s.saved ? "" : ", fresh weights");
  say(stdout, "plan: {}{}, fsdp {} ({} x {}), tp {}, {}, {}\n", o.sp ? "sequence parallel" : "tensor parallel", experts_text(s),
      o.mesh.size[0] * o.mesh.size[1], o.mesh.size[0], o.mesh.size[1], o.mesh.size[2], ranks_text(o), name_of(o.dtype));
}

std::string step_text(std::int64_t step, std::int64_t steps, const plait::step_result& r, double seconds, double communicating) {
  std::string text = fmt::format("step {:>{}}/{}  loss {:.4f}  grad norm {:.3f}  {:>8.0f} tok/s  compute {:.0f} ms  communication {:.0f} ms",
                                 step, fmt::formatted_size("{}", steps), steps, r.loss, r.gradient_norm,
                                 static_cast<double>(r.tokens) / seconds, 1e3 * (seconds - communicating), 1e3 * communicating);
  if (r.expert_choices.empty()) return text;
  const expert_load load = load_of(r.expert_choices);
  return text + fmt::format("  experts max/mean {:.2f}, idle {}", load.max_over_mean, load.idle);
}

std::string plan_text(const session& s) {
  const options& o = s.o;
  return fmt::format("{}{}, fsdp {} x {}, tp {}", o.sp ? "sequence parallel" : "tensor parallel", experts_text(s), o.mesh.size[0], o.mesh.size[1],
                     o.mesh.size[2]);
}

/// What does not change from save to save.
plait::save_facts facts_of(const session& s) {
  plait::save_facts f;
  f.family = s.config.family;
  f.plan = plan_text(s);
  f.element_types = name_of(s.o.dtype);
  f.axes = {"fsdp_outer", "fsdp_inner", "tp"};
  f.files.emplace_back("config.json", s.config.raw_text);
  f.files.insert(f.files.end(), s.companions.begin(), s.companions.end());
  return f;
}

/// Refuses a --save folder in which steps of another run, or later ones of this run, would be in the way.
void require_room(const options& o, const plait::io::checkpoint_store& store, std::int64_t done) {
  const std::vector<std::int64_t> steps = store.steps();
  if (steps.empty() || (!o.resume_from.empty() && steps.back() <= done)) return;
  throw usage_error(fmt::format("--save {}: holds a checkpoint of step {}{}", o.save_to, steps.back(),
                                o.resume_from.empty() ? fmt::format("; continue it with --resume {} or choose another folder", o.save_to)
                                                      : fmt::format(", later than step {} which is continued; remove it or choose another folder", done)));
}

/// What the run's saves came to; every process keeps its own, of threads rank 0 does.
struct save_tally {
  std::int64_t saved = 0, failed = 0, last = -1;
  std::string in;  // where the last one is
};

void report(const options& o, const std::optional<plait::save_outcome>& outcome, save_tally& tally, status_line& steps) {
  if (!outcome) return;
  if (!o.leads()) {
    ++(outcome->error.empty() ? tally.saved : tally.failed);
    return;
  }
  steps.end();
  if (outcome->error.empty()) {
    ++tally.saved;
    say(stdout, "saved step {} to {} ({:.1f} MB, {:.2f} s)\n", outcome->step, o.save_to, static_cast<double>(outcome->bytes) / 1e6, outcome->seconds);
  } else {
    ++tally.failed;
    std::fflush(stdout);
    say(stderr, "moe_trainer: step {} was not saved: {}\n", outcome->step, outcome->error);
  }
  std::fflush(stdout);
}

}  // namespace

int train(const options& o) {
  if (o.tokens.empty()) throw usage_error("train: --tokens is missing; name a file of tokens or text, such as examples/data/verse.txt");
  if (o.leads()) {
    require_writable("--log", o.log, output::log);
    require_writable("--export", o.export_to, output::folder);
    require_no_checkpoint("--export", o.export_to);
    const auto place = [](const std::string& path) {  // empty if it cannot be found out
      std::error_code problem;
      return path.empty() ? path : std::filesystem::weakly_canonical(std::filesystem::absolute(path + "/", problem), problem).string();
    };
    if (!o.export_to.empty() && (o.export_to == o.save_to || (!place(o.export_to).empty() && place(o.export_to) == place(o.save_to))))
      throw usage_error("--export and --save name the same folder; give the export one of its own");
  }
  require_writable("--save", o.save_to, output::folder);
  if (o.leads()) require_no_model("--save", o.save_to);
  const session s(o);
  const token_source tokens(s, o.tokens);
  plait::io::training_state begun;
  begun.seed = o.seed;
  if (s.resumes()) begun = s.saved->m.training;
  if (!begun.tokens.empty() && begun.tokens != tokens.digest() && o.leads())
    say(stderr, "moe_trainer: note: --tokens {}: other tokens, or rows of another length, than {} was trained with; it is read from row {} on\n", o.tokens,
        s.saved->path, begun.rows_seen % tokens.rows());
  begun.tokens = tokens.digest();
  tokens.require_labels(begun.rows_seen, o.steps - begun.step);
  const bool saves = !o.save_to.empty();
  std::optional<plait::io::checkpoint_store> checkpoints;  // rank 0's
  if (saves && o.leads()) {
    checkpoints.emplace(o.save_to);
    require_room(o, *checkpoints, begun.step);
  }
  if (!o.export_to.empty() && o.leads()) {
    const std::string problem = room_problem(o.export_to, {s.config, s.table().types.parameter, o.export_shard_bytes});
    if (!problem.empty()) throw usage_error("--export " + o.export_to + ": " + problem);
  }
  std::FILE* log = nullptr;
  if (!o.log.empty() && o.leads()) log = open_log(o.log);
  const stop_signals signals(saves);
  std::vector<std::optional<plait::checkpoint_saver>> savers(static_cast<std::size_t>(o.mesh.ranks()));  // by rank, those of this process
  save_tally tally;
  bool stopped = false;
  std::string not_exported;
  status_line steps(stdout);  // rank 0's; ended before an error has a line of its own

  const auto body = [&](plait::context& c, rank_model& m) {
    if (c.rank == 0) {
      print_plan(s, m.store);
      if (!saves && o.export_to.empty()) say(stdout, "note: the weights are not kept; --save DIR or --export DIR keeps them\n");
      if (s.resumes())
        say(stdout, "continued from step {} ({}; saved under {})\n", begun.step, s.saved->path, s.saved->m.plan);
    }
    plait::checkpoint_saver& saver = savers[static_cast<std::size_t>(c.rank)].emplace(checkpoints ? &*checkpoints : nullptr, o.save_to,
                                                                                      plait::save_options{plait::io::default_block_bytes, o.keep});
    plait::save_facts facts = facts_of(s);
    plait::io::training_state& state = facts.training = begun;
    std::int64_t saved = s.resumes() ? begun.step : -1;  // the last step that a checkpoint has; saved_in: its folder
    std::string saved_in = s.resumes() ? s.saved->path : "";
    const auto noted = [&](const std::optional<plait::save_outcome>& outcome) {
      if (outcome && outcome->error.empty()) saved = outcome->step, saved_in = o.save_to + "/" + plait::io::step_folder_name(saved);
      if (s.keeps(c)) report(o, outcome, tally, steps);
    };
    // What the run has come to is on no disk, though it should be.
    const auto save_anywhere = [&] {
      if (!saves || saved == state.step || state.step <= begun.step) return;
      if (const std::string place = save_elsewhere(c, m.store, facts, o.save_to); !place.empty()) saved = state.step, saved_in = place;
    };
    // A step that was refused has changed nothing: the state before it is kept, and no older one removed.
    const auto refused = [&](const std::string& what) {
      std::string why;
      for (const std::string& text : plait::gather_texts(c, what))
        if (why.empty() || text.find("another rank") == text.npos) why = text;
      if (c.rank == 0) steps.end();
      saver.keep_all();
      noted(saver.finish(c));
      const bool finite = plait::state_is_finite(c, m.store);
      if (saves && finite && state.step != saved && state.step > begun.step) {
        noted(saver.begin(c, m.store, facts));
        noted(saver.finish(c));
        save_anywhere();
      }
      const std::string before = !finite ? "the state before it is not finite and was not saved" : "the state before it was not saved";
      const std::string kept = saved < 0               ? state.step == 0 ? "no step was done before" : before + (saves ? "" : ": there is no --save")
                               : saved == state.step ? fmt::format("the state before it is in {}", saved_in)
                                                     : fmt::format("{}, the latest checkpoint is {}", before, saved_in);
      return plait::numeric_fault(fmt::format("step {}, from row {} of {} on: {}; if the losses grew before, lower --lr, else look at weights and tokens; {}",
                                              state.step + 1, state.rows_seen % tokens.rows(), o.tokens, why, kept));
    };
    if (c.rank == 0 && log != nullptr && state.step < o.steps) take_back_rows(log, o.log, state.step);
    while (state.step < o.steps) {
      const auto before = clock::now();
      c.seconds_communicating = 0;
      plait::step_options options;
      options.accumulation = o.accumulation;
      options.clip = o.clip;
      options.adamw.learning_rate = o.rate.at(state.step + 1);
      options.adamw.weight_decay = o.weight_decay;
      options.adamw.step = state.step + 1;
      options.aux_coefficient = s.config.aux_weight();
      options.sparse_layers = s.sparse_layers;
      plait::step_result r;
      try {
        r = plait::train_step(c, *m.model, m.store, tokens.at(state.rows_seen), options);
      } catch (const plait::numeric_fault& e) {  // on every rank
        throw refused(e.what());
      }
      ++state.step;
      state.rows_seen += tokens.rows_per_step();
      state.tokens_seen += r.tokens;
      if (c.rank == 0) {
        const double seconds = std::chrono::duration<double>(clock::now() - before).count();
        steps.show(step_text(state.step, o.steps, r, seconds, c.seconds_communicating));
        if (state.step == o.steps) steps.end();
        if (log != nullptr) {
          const expert_load load = load_of(r.expert_choices);
          plait::io::json_line row;
          row.add("step", state.step).add("loss", r.loss).add("aux_loss", r.aux_loss).add("grad_norm", r.gradient_norm);
          row.add("clip_factor", o.clip > 0 ? std::min(1.0, o.clip / (r.gradient_norm + 1e-6)) : 1.0).add("lr", options.adamw.learning_rate);
          row.add("tokens", r.tokens).add("tokens_seen", state.tokens_seen).add("tokens_per_second", static_cast<double>(r.tokens) / seconds);
          row.add("seconds", seconds).add("seconds_compute", seconds - c.seconds_communicating).add("seconds_communication", c.seconds_communicating);
          row.add("expert_load_max_over_mean", load.max_over_mean).add("experts_without_tokens", static_cast<std::int64_t>(load.idle));
          row.add("gathered_bytes_peak", m.store.peak_gathered_bytes()).add("memory_peak_bytes", c.memory.peak);
          const bool was_good = std::ferror(log) == 0;
          std::fprintf(log, "%s\n", row.text().c_str());
          if ((std::fflush(log) != 0 || std::ferror(log) != 0) && was_good) {
            steps.end();
            say(stderr, "moe_trainer: --log {}: could not be written from step {} on; training goes on\n", o.log, state.step);
          }
        }
      }
      if (!saves) continue;
      // Every rank must see the signal at the same step.
      const bool stop = plait::sum_over_ranks(c, signals.asked() ? 1.0 : 0.0) > 0;
      const bool due = stop || state.step == o.steps || (o.save_every && state.step % *o.save_every == 0);
      noted(due || o.save_wait ? saver.finish(c) : saver.poll(c));
      if (due) {
        noted(saver.begin(c, m.store, facts));
        if (o.save_wait) noted(saver.finish(c));
      }
      if (stop) {
        if (s.keeps(c)) stopped = state.step < o.steps;
        break;
      }
    }
    noted(saver.finish(c));
    if (c.rank == 0 && begun.step >= o.steps) say(stdout, "step {} is done already; --steps is the number of the last step\n", begun.step);
    save_anywhere();
    if (s.keeps(c)) tally.last = saved, tally.in = saved_in;
    // A run that was stopped is not at its end, and who stopped it may not wait for an export.
    if (o.export_to.empty() || (state.step < o.steps && saved == state.step)) return;
    const std::string problem = export_folder(c, m, s, o.export_to);
    if (problem.empty()) return;
    std::string instead;
    if (saved == state.step) {
      instead = fmt::format("the weights are saved, so: moe_trainer checkpoint merge {} OUT", saved_in);
    } else {
      const std::string place = export_elsewhere(c, m, s, o.export_to, state.step);
      instead = place.empty() ? "nor could the model be written beside it, here, or to the folder for temporary files" : "the model is in " + place + " instead";
    }
    if (s.keeps(c)) not_exported = fmt::format("--export {}: {}; {}", o.export_to, problem, instead);
  };
  try {
    on_every_rank(s, body);
  } catch (...) {
    writing_after_failure = true;
    for (int r = o.mesh.ranks(); r-- > 0;)
      if (auto& saver = savers[static_cast<std::size_t>(r)]) report(o, saver->finish_alone(r, o.mesh.ranks(), o.world != nullptr ? 10 : 0), tally, steps);
    throw;
  }
  const bool log_failed = log != nullptr && (std::ferror(log) != 0) + (std::fclose(log) != 0) > 0;
  if (!not_exported.empty()) throw std::runtime_error(not_exported);
  if (tally.failed > 0)
    throw std::runtime_error(fmt::format("{} of {} checkpoints could not be saved (see above); {}", tally.failed, tally.failed + tally.saved,
                                         tally.last >= 0 ? fmt::format("the latest is {}", tally.in) : "none was"));
  if (log_failed) throw std::runtime_error("--log " + o.log + ": could not be written to the end; the run itself is complete");
  if (!o.export_to.empty() && o.leads() && !stopped) say(stdout, "exported {}\n", o.export_to);
  if (stopped) {
    if (o.leads()) say(stderr, "moe_trainer: stopped by a signal after step {}, which is saved; continue with --resume {}\n", tally.last, o.save_to);
    return exit_stopped;
  }
  return 0;
}

}  // namespace trainer
