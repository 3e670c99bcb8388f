#include "token_source.hpp"

#include <algorithm>
#include <cstdio>

#include "processes.hpp"
#include "text.hpp"

namespace trainer {
namespace {

constexpr std::int64_t rows_of_a_text = 64;  // a step of training, where --batch does not say: a text may be of any length

}  // namespace

token_source::token_source(const session& s, const std::string& path) : path_(path) {
  plait::io::token_rows rows = read_rows(s, path);
  digest_ = plait::io::digest_of(rows.input_ids.data(), rows.input_ids.size() * sizeof rows.input_ids[0]).text() + ", " + std::to_string(rows.rows) + " x " +
            std::to_string(rows.columns);
  require_same(s.o, "the tokens of " + path + " (digest)", digest_);
  rows_ = rows.rows;
  columns_ = rows.columns;
  ids_.assign(rows.input_ids.begin(), rows.input_ids.end());
  if (rows.has_labels) labels_ = std::move(rows.labels);
  length_ = std::move(rows.length);
  std::int64_t labelled = 0;
  for (std::int64_t r = 0; r < rows_ && labelled == 0; ++r) labelled = labels_in(r);
  if (columns_ > s.config.max_positions && s.o.leads())
    std::fprintf(stderr, "moe_trainer: note: rows have %lld tokens, more than max_position_embeddings (%lld) says that the model is made for\n",
                 static_cast<long long>(columns_), static_cast<long long>(s.config.max_positions));
  if (labelled == 0) throw usage_error(path + ": no token has a label, so there is no loss; give rows of at least two tokens and labels other than -100");
  const bool evaluates = s.o.run == command::eval, part = !evaluates && !plait::io::is_token_tensor_file(path);
  rows_per_step_ = s.o.batch.value_or(part ? std::min(rows_, rows_of_a_text) : rows_);
  if (s.o.batch || !evaluates || !s.o.dump.empty()) require_step(rows_per_step_, columns_);
  if (evaluates) rows_per_step_ = std::min(rows_, rows_per_step_);  // each row once
  if (evaluates && s.o.dump.empty()) return;                        // in parts
  if (rows_per_step_ > rows_ && s.o.leads())
    std::fprintf(stderr, "moe_trainer: note: %s has %lld rows, so a step of --batch %lld takes rows more than once\n", path.c_str(),
                 static_cast<long long>(rows_), static_cast<long long>(rows_per_step_));
  if (const std::int64_t at_once = rows_per_step_ * columns_ / s.o.accumulation; !s.o.batch && at_once > 100'000 && s.o.leads())
    std::fprintf(stderr, "moe_trainer: note: %lld tokens are computed at a time; --grad-accumulation takes them in slices, --batch takes fewer rows\n",
                 static_cast<long long>(at_once));
}

plait::batch token_source::slice(std::int64_t first, std::int64_t count) const {
  std::vector<std::int64_t> ids;
  ids.reserve(static_cast<std::size_t>(count * columns_));
  for (std::int64_t r = 0; r < count; ++r) {
    const auto from = ids_.begin() + (first + r) % rows_ * columns_;
    ids.insert(ids.end(), from, from + columns_);
  }
  plait::batch b = plait::batch::of(count, columns_, std::move(ids));
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t row = (first + r) % rows_, length = length_[static_cast<std::size_t>(row)];
    for (std::int64_t i = 0; i < columns_; ++i) {
      const auto at = static_cast<std::size_t>(r * columns_ + i);
      b.valid[at] = i < length;
      if (i + 1 >= columns_) continue;
      if (!labels_.empty()) b.labels[at] = labels_[static_cast<std::size_t>(row * columns_ + i + 1)];
      else if (i + 1 >= length) b.labels[at] = plait::ignored_label;  // the next token is padding
    }
  }
  return b;
}

std::int64_t token_source::labels_in(std::int64_t row) const {
  if (labels_.empty()) return std::max<std::int64_t>(0, length_[static_cast<std::size_t>(row)] - 1);
  const auto from = labels_.begin() + row * columns_;
  return columns_ - 1 - std::count(from + 1, from + columns_, plait::ignored_label);
}

plait::step_totals token_source::totals(std::int64_t count) const {
  plait::step_totals all;
  for (std::int64_t r = 0; r < count; ++r) {
    all.labels += static_cast<double>(labels_in(r % rows_));
    all.valid += static_cast<double>(length_[static_cast<std::size_t>(r % rows_)]);
  }
  return all;
}

void token_source::require_labels(std::int64_t first, std::int64_t steps) const {
  if (labels_.empty() && *std::min_element(length_.begin(), length_.end()) > 1) return;
  std::vector<std::int64_t> before = {0};  // labels in the rows before, twice around
  for (std::int64_t r = 0; r < 2 * rows_; ++r) before.push_back(before.back() + labels_in(r % rows_));
  for (std::int64_t step = 0; step < std::min(steps, rows_) && rows_per_step_ < rows_; ++step) {
    const std::int64_t row = (first + step * rows_per_step_) % rows_;
    if (before[static_cast<std::size_t>(row + rows_per_step_)] == before[static_cast<std::size_t>(row)])
      throw usage_error(path_ + ": the " + std::to_string(rows_per_step_) + " rows of a step from row " + std::to_string(row) +
                        " on have no label, so there is no loss; leave such rows out or give a larger --batch");
  }
}

void require_step(std::int64_t rows, std::int64_t columns) {
  if (rows > most_tokens_of_a_step / columns)
    throw usage_error("--batch: a step of " + std::to_string(rows) + " rows of " + std::to_string(columns) + " tokens is too large; " +
                      std::to_string(most_tokens_of_a_step) + " tokens is the limit");
}

}  // namespace trainer
