// tokenizer.json and tokenizer_config.json. "@":0 in the input stands for the 256 tokens of the byte alphabet, ids 0 to 255,
// without which every tokenizer is refused.
#include "plait/io/byte_pairs.hpp"
#include "plait/io/open_tokenizer.hpp"
#include "support.hpp"

using namespace plait::io;

namespace {

std::string alphabet() {
  std::string text;
  for (int byte = 0; byte < 256; ++byte) {
    if (byte > 0) text += ',';
    append_json_string(text, token_of_bytes(std::string(1, static_cast<char>(byte))));
    text += ':' + std::to_string(byte);
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string all = alphabet();
  const std::string probe = " the <a> caf\xc3\xa9 e\xcc\x81 123 \n\n \xff'S abab<b>  ";
  std::string text(fuzz::text_of(data, size));
  fuzz::read([&] { read_tokenizer_settings("f", text); });
  if (const std::size_t at = text.find("\"@\":0"); at != std::string::npos) text.replace(at, 5, all);
  fuzz::read([&] {
    const auto t = open_tokenizer_json("f", text);
    for (const bool special : {true, false}) {
      const auto ids = t->encode(probe, special);
      for (const std::int64_t id : ids) fuzz::require(id >= 0 && id < t->vocabulary(), "ids lie in the vocabulary");
      t->decode(ids, special);
    }
    text_stream stream(*t);
    for (std::int64_t id = -1; id < 300; ++id) fuzz::require(is_utf8(stream.push(id)), "a stream is UTF-8");
  });
  return 0;
}
