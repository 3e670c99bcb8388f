#pragma once
// What is trained on or evaluated: the rows of a file, batch by batch.
#include <string>
#include <vector>

#include "session.hpp"

namespace trainer {

/// Rows of the file; a batch of them, with labels moved by one, is made when it is asked for.
class token_source {
 public:
  token_source(const session& s, const std::string& path);
  /// The rows from `first` on, wrapping: --batch ones, or all of them (of a text, for training, at most 64).
  plait::batch at(std::int64_t first) const { return slice(first, rows_per_step_); }
  plait::batch slice(std::int64_t first, std::int64_t count) const;
  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  std::int64_t rows_per_step() const { return rows_per_step_; }
  /// Of the first `count` rows, wrapping.
  plait::step_totals totals(std::int64_t count) const;
  /// Of the tokens, with the number and the length of rows.
  const std::string& digest() const { return digest_; }
  /// Refuses a file of which a step from row `first` on would have no label.
  void require_labels(std::int64_t first, std::int64_t steps) const;

 private:
  std::int64_t labels_in(std::int64_t row) const;

  std::string path_, digest_;
  std::int64_t rows_ = 0, columns_ = 0, rows_per_step_ = 0;
  std::vector<std::int32_t> ids_;     // rows x columns
  std::vector<std::int64_t> labels_;  // the same, not moved; empty: the ids
  std::vector<std::int64_t> length_;  // of each row without its padding
};

/// Refuses a step of more tokens than memory or arithmetic could hold.
void require_step(std::int64_t rows, std::int64_t columns);

}  // namespace trainer
