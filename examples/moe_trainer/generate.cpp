#include <algorithm>
#include <chrono>
#include <cstdio>

#include "plait/io/generation_config.hpp"
#include "plait/io/json_lines.hpp"
#include "plait/model/generation.hpp"
#include "session.hpp"
#include "terminal.hpp"
#include "text.hpp"

namespace trainer {
namespace {

using clock = std::chrono::steady_clock;
using plait::token_list;

double seconds_since(clock::time_point before) { return std::chrono::duration<double>(clock::now() - before).count(); }

/// One text a line; a line end at the end of the file begins no line.
std::vector<std::string> lines_of(const std::string& path) {
  const std::string text = plait::io::read_text_file(path, std::uint64_t{1} << 30);
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    lines.push_back(std::move(line));
    if (lines.back().empty()) throw usage_error("--prompts " + path + ": line " + std::to_string(lines.size()) + " is empty; every line is a prompt");
    at = end + 1;
  }
  if (lines.empty()) throw usage_error("--prompts " + path + ": is empty; write one prompt a line");
  return lines;
}

struct prompts {
  std::vector<std::string> texts;  // empty: ids were given
  std::vector<token_list> ids;
};

prompts read_prompts(const session& s, const plait::io::tokenizer& tokenizer) {
  prompts p{s.o.prompts_file.empty() ? s.o.prompts : lines_of(s.o.prompts_file), s.o.prompt_ids};
  for (const std::string& text : p.texts) p.ids.push_back(text.empty() ? token_list{} : tokenizer.encode(text));
  for (std::size_t r = 0; r < p.ids.size(); ++r) {
    const std::string from = !s.o.prompts_file.empty() ? "--prompts " + s.o.prompts_file + ": line " + std::to_string(r + 1) + ", "
                                                       : s.o.prompts.empty() ? "--prompt-ids: " : "--prompt: ";
    const std::string name = from + "prompt " + std::to_string(r);
    if (p.ids[r].empty()) throw usage_error(name + ": is empty; a prompt has at least one token");
    for (const std::int64_t id : p.ids[r])
      if (id < 0 || id >= s.config.vocabulary)
        throw usage_error(name + ": id " + std::to_string(id) + " lies outside the vocabulary of " + std::to_string(s.config.vocabulary));
    const std::int64_t length = static_cast<std::int64_t>(p.ids[r].size());
    const bool grows = s.config.rope.type == plait::io::rope_scaling::kind::dynamic;  // made for texts beyond max_position_embeddings
    if (!grows && s.o.new_tokens > s.config.max_positions - length)
      throw usage_error(name + ": " + std::to_string(length) + " tokens and " + std::to_string(s.o.new_tokens) +
                        " new ones exceed max_position_embeddings (" + std::to_string(s.config.max_positions) +
                        "); shorten the prompt or lower --max-new-tokens");
  }
  return p;
}

/// A decoder that has read the prompt, for what follows it: a character may begin there, and a leading space is none.
plait::io::text_stream after(const plait::io::tokenizer& tokenizer, const token_list& prompt) {
  plait::io::text_stream decoder(tokenizer);
  for (const std::int64_t id : prompt) decoder.push(id);
  return decoder;
}

/// Prints rows in their order, on a terminal token by token: the first unfinished row as it grows, the others when it is their turn.
class printer {
 public:
  printer(const plait::io::tokenizer& tokenizer, const prompts& p, std::size_t first, std::size_t last, std::int64_t new_tokens,
          const token_list& stop_ids)
      : new_tokens_(new_tokens), stop_ids_(stop_ids), terminal_(is_terminal(stdout)) {
    for (std::size_t i = first; i < last; ++i) rows_.push_back({p.texts[i], after(tokenizer, p.ids[i]), 0, new_tokens == 0});
    advance();
  }
  void add(std::size_t at, std::int64_t id) {
    row& r = rows_[at];
    const bool stops = std::find(stop_ids_.begin(), stop_ids_.end(), id) != stop_ids_.end();
    if (!stops) r.unprinted += r.decoder.push(id);
    if (stops || ++r.count == new_tokens_) {
      r.unprinted += r.decoder.finish();
      r.done = true;
    }
    advance();
  }

 private:
  struct row {
    std::string unprinted;
    plait::io::text_stream decoder;
    std::int64_t count = 0;
    bool done = false;
  };
  void advance() {
    for (; current_ < rows_.size(); ++current_) {
      row& r = rows_[current_];
      std::fwrite(r.unprinted.data(), 1, r.unprinted.size(), stdout);
      r.unprinted.clear();
      if (!r.done) break;
      std::fputc('\n', stdout);
    }
    if (terminal_) std::fflush(stdout);
  }

  std::vector<row> rows_;
  std::size_t current_ = 0;
  std::int64_t new_tokens_;
  const token_list& stop_ids_;
  bool terminal_;
};

std::string json_of(std::size_t number, const prompts& p, const token_list& added, const plait::io::tokenizer& tokenizer,
                    const token_list& stop_ids) {
  token_list all = p.ids[number];
  all.insert(all.end(), added.begin(), added.end());
  const bool stopped = !added.empty() && std::find(stop_ids.begin(), stop_ids.end(), added.back()) != stop_ids.end();
  plait::io::json_line row;
  row.add("prompt", number).add("ids", all).add("new_ids", added).add("stopped", stopped);
  if (!p.texts.empty() || tokenizer.kind() != "bytes") {
    plait::io::text_stream decoder = after(tokenizer, p.ids[number]);
    std::string text;
    for (std::size_t i = 0; i < added.size() - (stopped ? 1 : 0); ++i) text += decoder.push(added[i]);
    row.add("text", text + decoder.finish());
  }
  return row.text();
}

}  // namespace

int generate(const options& o) {
  const session s(o);
  const std::unique_ptr<plait::io::tokenizer> tokenizer = tokenizer_of(s);
  const prompts p = read_prompts(s, *tokenizer);
  plait::generation_options g;
  g.new_tokens = o.new_tokens;
  g.sampling = {o.temperature, o.top_k, o.top_p, o.seed};
  g.cache = o.cache;
  g.stop_ids = s.config.eos;
  for (const auto& [name, text] : s.companions)
    if (name == "generation_config.json") g.stop_ids = plait::io::parse_stop_ids(o.model + "/" + name, text, s.config);
  for (const std::int64_t id : o.stop_ids) {
    if (id < 0 || id >= s.config.vocabulary)
      throw usage_error("--stop-id: " + std::to_string(id) + " lies outside the vocabulary of " + std::to_string(s.config.vocabulary));
    g.stop_ids.push_back(id);
  }
  const bool as_text = !o.json && !p.texts.empty();
  const std::size_t count = p.ids.size(), per_batch = o.batch ? static_cast<std::size_t>(*o.batch) : count;
  std::int64_t read = 0, first_tokens = 0, later_tokens = 0;
  double first_seconds = 0, later_seconds = 0;
  on_every_rank(s, [&](plait::context& c, rank_model& m) {
    m.store.hold = o.mesh.size[0] * o.mesh.size[1] == 1;  // FSDP exists so that not all weights lie on a rank at once
    for (std::size_t first = 0; first < count; first += per_batch) {
      const std::size_t last = std::min(first + per_batch, count);
      plait::generation_options batch = g;
      batch.first_row = first;
      const std::vector<token_list> ids(p.ids.begin() + static_cast<std::ptrdiff_t>(first), p.ids.begin() + static_cast<std::ptrdiff_t>(last));
      if (c.rank != 0) {
        plait::generate(c, *m.model, ids, batch);
        continue;
      }
      std::optional<printer> out;
      if (as_text) out.emplace(*tokenizer, p, first, last, g.new_tokens, g.stop_ids);
      const auto before = clock::now();
      auto first_done = before;
      std::size_t seen = 0;
      const std::vector<token_list> rows = plait::generate(c, *m.model, ids, batch, [&](std::size_t row, std::int64_t id) {
        if (++seen == ids.size()) first_done = clock::now();
        if (out) out->add(row, id);
      });
      first_seconds += std::chrono::duration<double>(first_done - before).count();
      later_seconds += seconds_since(first_done);
      for (std::size_t r = 0; r < rows.size(); ++r) {
        read += static_cast<std::int64_t>(ids[r].size());
        first_tokens += !rows[r].empty();
        later_tokens += std::max<std::int64_t>(0, static_cast<std::int64_t>(rows[r].size()) - 1);
        if (!as_text) std::printf("%s\n", json_of(first + r, p, rows[r], *tokenizer, g.stop_ids).c_str());
      }
      std::fflush(stdout);
    }
  });
  const auto rate = [](std::int64_t tokens, double seconds) { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0; };
  if (o.leads())
    std::fprintf(stderr, "moe_trainer: %zu prompt%s of %lld tokens read in %.3f s (%.0f tokens/s); "
                         "%lld new tokens, all but the first of each in %.3f s (%.0f tokens/s)\n",
                 count, count == 1 ? "" : "s", static_cast<long long>(read), first_seconds, rate(read, first_seconds),
                 static_cast<long long>(first_tokens + later_tokens), later_seconds, rate(later_tokens, later_seconds));
  return 0;
}

}  // namespace trainer
