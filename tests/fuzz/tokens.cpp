// Tokens: a text as rows, a file of token tensors, and JSON lines, which must read back. First byte: which of them.
#include "plait/io/tokens.hpp"

#include "plait/io/json_lines.hpp"
#include "support.hpp"

using namespace plait::io;

namespace {

void check(const token_rows& rows, std::int64_t vocabulary) {
  const auto count = static_cast<std::size_t>(rows.rows * rows.columns);
  fuzz::require(rows.rows > 0 && rows.input_ids.size() == count && rows.labels.size() == count, "rows are whole");
  for (const std::int64_t id : rows.input_ids) fuzz::require(id >= 0 && id < vocabulary, "tokens lie in the vocabulary");
  for (const std::int64_t n : rows.length) fuzz::require(n >= 0 && n <= rows.columns, "lengths fit");
  take_rows(rows, rows.rows - 1, 3);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static fuzz::memory_file memory;
  if (size < 2) return 0;
  const std::int64_t vocabulary = data[1] + 1;
  const std::string text(fuzz::text_of(data + 2, size - 2));
  if (data[0] % 3 == 0) {
    fuzz::read([&] { check(tokens_of_text("f", text, data[0] / 3, vocabulary), vocabulary); });
  } else if (data[0] % 3 == 1) {
    std::string bytes = text;
    if (const std::size_t end = text.find('\n'); end != std::string::npos) {  // header, line end, data
      const std::uint64_t header = end;
      bytes = std::string(8, '\0') + text.substr(0, end) + text.substr(end + 1);
      std::memcpy(bytes.data(), &header, 8);
    }
    memory.set(bytes);
    fuzz::read([&] { check(detail::read_token_tensors(memory.path(), vocabulary), vocabulary); });
  } else {
    double number = 0;
    if (text.size() >= sizeof number) std::memcpy(&number, text.data(), sizeof number);
    json_line line;
    line.add("text", text).add("number", number).add(text.substr(0, text.size() / 2) + "#", vocabulary);
    const json_value back = parse_json_tree("f", line.text());
    if (is_utf8(text)) fuzz::require(back.items[0].text == text, "a text reads back");
    if (number - number == 0) fuzz::require(back.items[1].number == number, "a number reads back");
  }
  return 0;
}
