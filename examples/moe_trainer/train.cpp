#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "export.hpp"
#include "plait/io/json_lines.hpp"
#include "session.hpp"

namespace trainer {
namespace {

using clock = std::chrono::steady_clock;

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

void print_plan(const session& s, const plait::parameter_store& store) {
  const options& o = s.o;
  std::int64_t parameters = 0;
  for (const plait::parameter_slot& p : store.slots) {
    std::int64_t n = 1;
    for (int d = 0; d < p.rank; ++d) n *= p.global[d];
    parameters += n;
  }
  fmt::print("{}: {} layers, hidden {}, {} experts (top {}), {} parameters{}\n", s.config.family, s.config.layers, s.config.hidden,
             s.config.experts, s.config.top_k, parameters, s.folder ? "" : ", fresh weights");
  fmt::print("plan: {}{}, fsdp {} ({} x {}), tp {}, {} ranks as threads, {}\n", o.sp ? "sequence parallel" : "tensor parallel",
             o.ep ? " + expert parallel" : "", o.mesh.size[0] * o.mesh.size[1], o.mesh.size[0], o.mesh.size[1], o.mesh.size[2],
             o.mesh.ranks(), o.dtype == plait::training_dtype::bf16 ? "bf16" : "f32");
}

/// A progress line that rewrites itself on a terminal, plain lines otherwise.
void print_step(std::int64_t step, std::int64_t steps, const plait::step_result& r, double seconds, double communicating) {
  const expert_load load = load_of(r.expert_choices);
  const bool terminal = ::isatty(1) != 0;
  const std::string line = fmt::format("step {:>{}}/{}  loss {:.4f}  grad norm {:.3f}  {:>8.0f} tok/s  compute {:.0f} ms  communication {:.0f} ms  experts max/mean {:.2f}, idle {}",
                                       step, fmt::formatted_size("{}", steps), steps, r.loss, r.gradient_norm,
                                       static_cast<double>(r.tokens) / seconds, 1e3 * (seconds - communicating), 1e3 * communicating,
                                       load.max_over_mean, load.idle);
  if (terminal) fmt::print("\r\033[K{}{}", line, step == steps ? "\n" : "");
  else fmt::print("{}\n", line);
  std::fflush(stdout);
}

}  // namespace

int train(const options& o) {
  if (o.tokens.empty()) throw usage_error("train: --tokens is missing; name a file of tokens or text, such as examples/data/verse.txt");
  require_writable("--log", o.log);
  require_writable("--export", o.export_to);
  options local = o;
  if (!local.sequence) local.sequence = 64;
  const session s(local);
  const token_source tokens(s, local.tokens);
  std::FILE* log = nullptr;
  if (!o.log.empty() && (log = std::fopen(o.log.c_str(), "w")) == nullptr) throw usage_error("--log " + o.log + ": cannot be written");

  on_every_rank(s, [&](plait::context& c, rank_model& m) {
    if (c.rank == 0) print_plan(s, m.store);
    for (std::int64_t step = 1; step <= o.steps; ++step) {
      const auto before = clock::now();
      c.seconds_communicating = 0;
      plait::step_options options;
      options.accumulation = o.accumulation;
      options.clip = o.clip;
      options.adamw.learning_rate = o.learning_rate;
      options.adamw.weight_decay = o.weight_decay;
      options.adamw.step = step;
      options.aux_coefficient = s.config.aux_weight();
      options.sparse_layers = s.sparse_layers;
      const plait::step_result r = plait::train_step(c, *m.model, m.store, tokens.at(step - 1), options);
      if (c.rank != 0) continue;
      const double seconds = std::chrono::duration<double>(clock::now() - before).count();
      print_step(step, o.steps, r, seconds, c.seconds_communicating);
      if (log == nullptr) continue;
      const expert_load load = load_of(r.expert_choices);
      plait::io::json_line row;
      row.add("step", step).add("loss", r.loss).add("aux_loss", r.aux_loss).add("grad_norm", r.gradient_norm);
      row.add("clip_factor", o.clip > 0 ? std::min(1.0, o.clip / (r.gradient_norm + 1e-6)) : 1.0).add("lr", o.learning_rate);
      row.add("tokens", r.tokens).add("tokens_seen", r.tokens * step).add("tokens_per_second", static_cast<double>(r.tokens) / seconds);
      row.add("seconds", seconds).add("seconds_compute", seconds - c.seconds_communicating).add("seconds_communication", c.seconds_communicating);
      row.add("expert_load_max_over_mean", load.max_over_mean).add("experts_without_tokens", static_cast<std::int64_t>(load.idle));
      row.add("gathered_bytes_peak", m.store.peak_gathered_bytes()).add("memory_peak_bytes", c.memory.peak);
      std::fprintf(log, "%s\n", row.text().c_str());
      std::fflush(log);
    }
    if (!o.export_to.empty()) export_folder(c, m, s, o.export_to);
  });
  if (log != nullptr && std::fclose(log) != 0) throw std::runtime_error("--log " + o.log + ": could not be written to the end");
  if (!o.export_to.empty()) fmt::print("exported {}\n", o.export_to);
  return 0;
}

}  // namespace trainer
