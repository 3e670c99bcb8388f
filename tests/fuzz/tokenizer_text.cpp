// Text and ids for the tokenizers of tests/data/tokenizers. First byte: which one, and whether the rest is text or ids.
#include <array>
#include <memory>
#include <vector>

#include "plait/io/open_tokenizer.hpp"
#include "support.hpp"

using namespace plait::io;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::array<std::unique_ptr<tokenizer>, 4> all = [] {
    const std::string folder = PLAIT_TEST_DATA "/data/tokenizers/";
    return std::array{open_tokenizer(folder + "gpt2"), open_tokenizer(folder + "llama3"), open_tokenizer(folder + "qwen2"),
                      open_tokenizer(folder + "flags")};
  }();
  if (size == 0) return 0;
  const tokenizer& t = *all[data[0] % 4];
  const std::string text(fuzz::text_of(data + 1, size - 1));
  std::vector<std::int64_t> ids;
  if (data[0] & 4u) {
    for (std::size_t i = 1; i + 1 < size; i += 2) ids.push_back((data[i] << 8 | data[i + 1]) % 400 - 2);
  } else {
    ids = t.encode(text, (data[0] & 8u) != 0);
    for (const std::int64_t id : ids) fuzz::require(id >= 0 && id < t.vocabulary(), "ids lie in the vocabulary");
    if (data[0] % 4 < 2 && !(data[0] & 8u)) fuzz::require(t.decode(ids, false) == text, "the text comes back");
    const std::string normal = nfc(text);
    fuzz::require(nfc(normal) == normal, "normalising twice changes nothing");
    if (data[0] % 4 == 2 && !(data[0] & 8u) && text.find("<|") == std::string::npos)
      fuzz::require(t.decode(ids, false) == normal, "the normalised text comes back");
  }
  text_stream stream(t, (data[0] & 16u) != 0);
  std::string streamed;
  for (const std::int64_t id : ids) {
    const std::string part = stream.push(id);
    fuzz::require(is_utf8(part), "no half character");
    streamed += part;
  }
  streamed += stream.finish();
  const std::string bytes = t.decode(ids, (data[0] & 16u) != 0);
  if (is_utf8(bytes)) fuzz::require(streamed == bytes, "a stream and the whole agree");
  return 0;
}
