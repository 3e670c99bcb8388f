#pragma once
// Generation: prompts of different lengths as one batch, one new token for every unfinished row a step. Every rank sees the same whole
// logits and makes the same choice, so nothing about tokens is communicated.
#include <functional>
#include <future>

#include "plait/model/sampling.hpp"
#include "plait/train/step.hpp"

namespace plait::inline v0_1 {

using token_list = std::vector<std::int64_t>;

struct generation_options {
  std::int64_t new_tokens = 16;  // at most, of each row
  sampling_options sampling;
  token_list stop_ids;           // a row ends with the first of these that it chooses
  bool cache = true;             // false: the whole rows again for every token
  std::uint64_t first_row = 0;   // number of the first prompt: random numbers go by it, whatever the batch holds
};

/// Rows of different lengths, padded on the left. Padding is a segment of its own at every position, so no token sees it.
inline batch left_padded(const std::vector<token_list>& rows) {
  std::size_t longest = 0;
  for (const token_list& row : rows) longest = std::max(longest, row.size());
  batch b = batch::of(static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(longest), token_list(rows.size() * longest, 0));
  std::fill(b.labels.begin(), b.labels.end(), ignored_label);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const std::size_t padding = longest - rows[r].size();
    for (std::size_t i = 0; i < longest; ++i) {
      const std::size_t at = r * longest + i;
      const bool token = i >= padding;
      b.ids[at] = token ? rows[r][i - padding] : 0;
      b.valid[at] = token;
      b.positions[at] = token ? static_cast<std::int32_t>(i - padding) : 0;
      b.segment_start[at] = static_cast<std::int32_t>(token ? padding : i);
    }
  }
  return b;
}

namespace detail {
/// Of each row of logits [B, 1, V] the most probable token, chosen where the logits are; -1 where they are not finite.
inline token_list most_probable(context& c, const array& logits) {
  token_list ids(static_cast<std::size_t>(logits.local.extent[0]));
  const array places = make_array(c, dtype::i64, 1, logits.local.extent, logits.global, logits.layout);
  c.ops->argmax(c.exec, logits.local, places.local);
  c.ops->copy(c.exec, ids.data(), places.local.data, places.local.bytes());
  return ids;
}
/// A whole array as float32 on the host.
inline std::vector<float> on_host(context& c, const array& a) {
  std::vector<float> values(static_cast<std::size_t>(a.local.size()));
  view to = a.local;
  to.type = dtype::f32;
  to.data = values.data();
  c.ops->cast(c.exec, a.local, to);
  return values;
}
/// A token of each row that is not done, drawn from its logits [B, 1, V]; several threads of the rank draw for rows of their own.
inline token_list drawn(context& c, const array& logits, const generation_options& o, const std::vector<token_list>& rows, const std::vector<bool>& done) {
  const std::vector<float> values = on_host(c, logits);
  const std::size_t vocabulary = static_cast<std::size_t>(logits.local.extent[2]), workers = std::min(rows.size(), static_cast<std::size_t>(std::max(1, c.exec.threads)));
  token_list ids(rows.size(), -1);
  const auto draw = [&](std::size_t worker) {
    for (std::size_t r = worker; r < rows.size(); r += workers)
      if (!done[r]) ids[r] = sample_token(std::span(values).subspan(r * vocabulary, vocabulary), o.sampling, o.first_row + r, rows[r].size());
  };
  std::vector<std::future<void>> others;
  for (std::size_t worker = 1; worker < workers; ++worker) others.push_back(std::async(std::launch::async, draw, worker));
  draw(0);
  for (std::future<void>& other : others) other.get();
  return ids;
}
}  // namespace detail

/// The new ids of each prompt, the stop id that ended it included. Every rank must call it, with the same arguments; on_token(row, id)
/// is called on every rank, once a token, rows in order. Throws numeric_fault on bad ids or logits that are not finite.
inline std::vector<token_list> generate(context& c, any_model& model, const std::vector<token_list>& prompts, const generation_options& o,
                                        const std::function<void(std::size_t, std::int64_t)>& on_token = {}) {
  if (prompts.empty()) throw std::invalid_argument("plait: generate: there is no prompt");
  for (const token_list& prompt : prompts)
    if (prompt.empty()) throw std::invalid_argument("plait: generate: a prompt has no token");
  std::vector<token_list> rows = prompts, added(prompts.size());
  std::vector<bool> done(rows.size(), false);
  batch next;
  std::vector<std::int32_t> padding(rows.size());
  const auto begin_again = [&] {  // the whole rows, as after the prompts
    next = left_padded(rows);
    for (std::size_t r = 0; r < rows.size(); ++r) padding[r] = static_cast<std::int32_t>(next.columns - static_cast<std::int64_t>(rows[r].size()));
  };
  begin_again();
  const std::int64_t capacity = next.columns + o.new_tokens;
  decoder_cache cache(capacity);
  for (std::int64_t n = 0; n < o.new_tokens; ++n) {
    c.ops->clear_faults(c.exec);
    const array logits = o.cache ? model.next_logits(c, next, cache) : runtime::last_position(c, model.run(c, next, nullptr, false, true).logits);
    read_faults(c);
    const token_list chosen = o.sampling.temperature > 0 ? detail::drawn(c, logits, o, rows, done) : detail::most_probable(c, logits);
    bool any = false, hold = true;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      if (done[r]) continue;
      const std::int64_t id = chosen[r];
      if (id < 0) throw numeric_fault("plait: the logits of row " + std::to_string(o.first_row + r) + " are not finite");
      rows[r].push_back(id);
      added[r].push_back(id);
      if (on_token) on_token(r, id);
      done[r] = std::find(o.stop_ids.begin(), o.stop_ids.end(), id) != o.stop_ids.end();
      any = any || !done[r];
      const auto length = static_cast<std::int64_t>(rows[r].size());
      hold = hold && (done[r] || model.keys_hold(length - 1, length));
    }
    if (!any || n + 1 == o.new_tokens) break;
    if (!o.cache || !hold) {
      begin_again();
      cache = decoder_cache(capacity);
      continue;
    }
    next = batch::of(static_cast<std::int64_t>(rows.size()), 1, token_list(rows.size(), 0));
    for (std::size_t r = 0; r < rows.size(); ++r) {
      next.valid[r] = !done[r];
      next.ids[r] = rows[r].back();  // of a finished row it is one that nobody reads
      next.positions[r] = static_cast<std::int32_t>(rows[r].size() - 1);
      next.segment_start[r] = padding[r];
    }
  }
  return added;
}

}  // namespace plait::inline v0_1
