#include <cstdio>

#include "export.hpp"
#include "plait/io/json_lines.hpp"
#include "session.hpp"

namespace trainer {

int eval(const options& o) {
  if (o.leads()) require_writable("--dump", o.dump, output::file);
  const session s(o);
  const token_source tokens(s, o.tokens);
  std::string line;
  on_every_rank(s, [&](plait::context& c, rank_model& m) {
    plait::step_options options;
    options.update = false;
    options.accumulation = o.dump.empty() ? o.accumulation : 1;  // the dump's logits are those of all rows
    options.aux_coefficient = s.config.aux_weight();
    options.sparse_layers = s.sparse_layers;
    const plait::step_result r = plait::train_step(c, *m.model, m.store, tokens.at(0), options, !o.dump.empty());
    if (!o.dump.empty()) dump(c, m, r.logits, o.dump);
    if (c.rank != 0) return;
    plait::io::json_line row;
    row.add("loss", r.loss).add("aux_loss", r.aux_loss).add("grad_norm", r.gradient_norm).add("tokens", r.tokens);
    line = row.text();
  });
  if (o.leads()) std::printf("%s\n", line.c_str());
  return 0;
}

}  // namespace trainer
