#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdio>

#include "export.hpp"
#include "plait/io/json_lines.hpp"
#include "terminal.hpp"
#include "token_source.hpp"

namespace trainer {
namespace {

constexpr std::int64_t tokens_at_once = 4096;  // of a rank: enough to keep it busy, few enough for the logits of a large vocabulary

/// How far a long evaluation is, on stderr: often on a terminal, otherwise now and then.
class progress {
 public:
  progress(bool speaks, std::int64_t rows) : speaks_(speaks), rows_(rows) {}
  ~progress() { line_.erase(); }
  void at(std::int64_t row) {
    const auto now = std::chrono::steady_clock::now();
    if (!speaks_ || row == 0 || now - said_ < (line_.rewrites() ? std::chrono::milliseconds(200) : std::chrono::seconds(30))) return;
    said_ = now;
    const double seconds = std::chrono::duration<double>(now - begun_).count();
    line_.show(fmt::format("moe_trainer: row {} of {}, about {:.0f} s to go", row, rows_, seconds * static_cast<double>(rows_ - row) / static_cast<double>(row)));
  }

 private:
  status_line line_{stderr};
  bool speaks_;
  std::int64_t rows_;
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now(), said_ = begun_;
};

}  // namespace

int eval(const options& o) {
  if (o.leads()) require_writable("--dump", o.dump, output::file);
  const session s(o);
  const token_source tokens(s, o.tokens);
  const std::int64_t rows = tokens.rows_per_step();
  const plait::step_totals all = tokens.totals(rows);
  std::string line;
  on_every_rank(s, [&](plait::context& c, rank_model& m) {
    plait::step_options options;
    options.update = false;
    options.aux_coefficient = s.config.aux_weight();
    options.sparse_layers = s.sparse_layers;
    plait::step_result r;
    if (o.dump.empty()) {
      const std::int64_t of_all_ranks = std::max<std::int64_t>(1, tokens_at_once / tokens.columns()) * o.mesh.size[0] * o.mesh.size[1];
      progress said(c.rank == 0 && o.leads(), rows);
      r = plait::evaluate(c, *m.model,
                          [&](std::int64_t first, std::int64_t count) {
                            said.at(first);
                            return tokens.slice(first, count);
                          },
                          rows, o.accumulation > 1 ? plait::ceil_chunk(rows, o.accumulation) : of_all_ranks, all, options);
    } else {  // the dump's logits are those of all rows
      r = plait::train_step(c, *m.model, m.store, tokens.at(0), options, true);
      dump(c, m, r.logits, o.dump);
    }
    if (c.rank != 0) return;
    plait::io::json_line row;
    row.add("loss", r.loss).add("aux_loss", r.aux_loss).add("perplexity", std::exp(r.loss - options.aux_coefficient * r.aux_loss));
    if (!o.dump.empty()) row.add("grad_norm", r.gradient_norm);
    row.add("tokens", r.tokens);
    line = row.text();
  });
  if (o.leads()) std::printf("%s\n", line.c_str());
  return 0;
}

}  // namespace trainer
