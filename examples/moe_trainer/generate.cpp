#include <cstdio>

#include "plait/io/json_lines.hpp"
#include "session.hpp"

namespace trainer {
namespace {

/// Greedy choice at the last position; ties go to the lower id.
std::int64_t best(plait::context& c, const plait::array& logits) {
  plait::view last = logits.local;
  const std::int64_t vocabulary = last.columns();
  const std::size_t row = static_cast<std::size_t>(vocabulary) * plait::size_of(last.type);
  std::vector<char> raw(row);
  c.ops->copy(c.exec, raw.data(), static_cast<const char*>(last.data) + last.bytes() - row, row);
  plait::view from = last;
  from.rank = 1;
  from.extent[0] = vocabulary;
  from.data = raw.data();
  std::vector<float> values(static_cast<std::size_t>(vocabulary));
  plait::view to = from;
  to.type = plait::dtype::f32;
  to.data = values.data();
  c.ops->cast(c.exec, from, to);
  std::int64_t at = 0;
  for (std::int64_t i = 1; i < vocabulary; ++i)
    if (values[static_cast<std::size_t>(i)] > values[static_cast<std::size_t>(at)]) at = i;
  return at;
}

}  // namespace

int generate(const options& o) {
  const session s(o);
  for (const std::int64_t id : o.prompt_ids)
    if (id < 0 || id >= s.config.vocabulary)
      throw usage_error("prompt: id " + std::to_string(id) + " lies outside the vocabulary of " + std::to_string(s.config.vocabulary));
  std::vector<std::int64_t> result;
  on_every_rank(s, [&](plait::context& c, rank_model& m) {
    std::vector<std::int64_t> ids = o.prompt_ids;
    for (std::int64_t n = 0; n < o.new_tokens; ++n) {
      const plait::batch b = plait::batch::of(1, static_cast<std::int64_t>(ids.size()), ids);
      const plait::slice_result r = m.model->run(c, b, nullptr, false, true);
      plait::read_faults(c);
      const std::int64_t next = best(c, r.logits);
      ids.push_back(next);
      if (std::find(s.config.eos.begin(), s.config.eos.end(), next) != s.config.eos.end()) break;
    }
    if (c.rank == 0) result = ids;
  });
  const std::size_t prompt = o.prompt_ids.size();
  if (!o.prompt.empty()) {
    std::string text;
    for (const std::int64_t id : result) text += id < 256 ? static_cast<char>(id) : '?';
    std::printf("%s\n", text.c_str());
  }
  plait::io::json_line row;
  row.add("ids", result).add("new_ids", std::vector<std::int64_t>(result.begin() + static_cast<std::ptrdiff_t>(prompt), result.end()));
  std::printf("%s\n", row.text().c_str());
  return 0;
}

}  // namespace trainer
