#pragma once
// Text as token ids: the model's tokenizer, or bytes where it has none.
#include <memory>
#include <string>

#include "plait/io/tokenizer.hpp"
#include "plait/io/tokens.hpp"
#include "session.hpp"

namespace trainer {

/// The tokenizer that belongs to the model.
std::unique_ptr<plait::io::tokenizer> tokenizer_of(const session& s);

/// A text file as rows of s.o.sequence tokens of the model's tokenizer; a shorter rest is left out. Files of tokens are read as they are.
plait::io::token_rows read_rows(const session& s, const std::string& path);

}  // namespace trainer
