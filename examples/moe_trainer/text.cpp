#include "text.hpp"

#include "plait/io/open_tokenizer.hpp"

namespace trainer {

std::unique_ptr<plait::io::tokenizer> tokenizer_of(const session& s) {
  const std::string folder = s.saved != nullptr ? s.saved->path : s.o.model;  // a checkpoint carries the model's tokenizer
  if (folder.empty()) return std::make_unique<plait::io::byte_tokenizer>();
  std::unique_ptr<plait::io::tokenizer> opened = plait::io::open_tokenizer(folder);
  if (opened->kind() != "bytes") plait::io::require_vocabulary(*opened, s.config.vocabulary, folder + "/config.json");
  return opened;
}

plait::io::token_rows read_rows(const session& s, const std::string& path) {
  const std::int64_t columns = s.o.sequence;
  if (plait::io::is_token_tensor_file(path)) return plait::io::read_tokens(path, s.config.vocabulary, columns);
  const std::unique_ptr<plait::io::tokenizer> tokenizer = tokenizer_of(s);
  if (tokenizer->kind() == "bytes") return plait::io::read_tokens(path, s.config.vocabulary, columns);
  plait::io::token_rows rows;
  rows.input_ids = tokenizer->encode(plait::io::read_text(path));
  rows.columns = columns;
  rows.rows = static_cast<std::int64_t>(rows.input_ids.size()) / columns;
  if (rows.rows == 0)
    throw plait::io::input_error(path, "", "has only " + std::to_string(rows.input_ids.size()) + " tokens, less than one row of " + std::to_string(columns) +
                                               "; give a longer text or a smaller --seq");
  rows.input_ids.resize(static_cast<std::size_t>(rows.rows * columns));
  rows.labels = rows.input_ids;
  rows.length.assign(static_cast<std::size_t>(rows.rows), columns);
  return rows;
}

}  // namespace trainer
