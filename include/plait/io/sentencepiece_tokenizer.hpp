#pragma once
// The tokenizer of a tokenizer.model. Included by implementation.hpp alone; without PLAIT_HAS_SENTENCEPIECE such files are
// refused.
#if defined(PLAIT_HAS_SENTENCEPIECE)
#include <sentencepiece_processor.h>
#endif

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "plait/io/error.hpp"
#include "plait/io/open_tokenizer.hpp"
#include "plait/io/tokenizer.hpp"

namespace plait::inline v0_1::io {

#if defined(PLAIT_HAS_SENTENCEPIECE)

namespace detail {

/// Text is plain text: "<s>" in it is three characters, not the token.
class sentencepiece_tokenizer final : public tokenizer {
 public:
  sentencepiece_tokenizer(const std::string& shown, std::string_view bytes, const tokenizer_settings& settings) {
    const auto status = model_.LoadFromSerializedProto(bytes);
    if (!status.ok()) throw input_error(shown, "", "is no sentencepiece model; download it again");
    if (settings.add_begin_of_text) begin_ = model_.bos_id();
    int end = model_.eos_id();
    if (!settings.end_of_text.empty()) {
      end = model_.PieceToId(settings.end_of_text);
      if (model_.IsUnknown(end))
        throw input_error(
            shown, "", "has no token " + in_quotes(settings.end_of_text, 60) + ", which is eos_token in tokenizer_config.json");
    }
    if (end >= 0) set_end_of_text({end});
  }
  std::string_view kind() const override { return "tokenizer.model"; }
  std::int64_t vocabulary() const override { return model_.GetPieceSize(); }
  std::vector<std::int64_t> encode(std::string_view text, bool add_special = true) const override {
    std::vector<int> pieces;
    const auto status = model_.Encode(text, &pieces);
    if (!status.ok()) throw input_error("sentencepiece cannot split the text: " + printable(status.ToString()));
    std::vector<std::int64_t> ids;
    if (add_special && begin_ >= 0) ids.push_back(begin_);
    ids.insert(ids.end(), pieces.begin(), pieces.end());
    return ids;
  }
  bool is_special(std::int64_t id) const override { return known(id) && model_.IsControl(static_cast<int>(id)); }
  void append_bytes(std::int64_t id, bool& at_start, std::string& out) const override {
    if (!known(id) || is_special(id)) return;
    const bool first = at_start;
    at_start = false;
    const int piece = static_cast<int>(id);
    if (model_.IsUnknown(piece)) {
      out += " \xe2\x81\x87 ";  // what sentencepiece writes for it
      return;
    }
    std::string_view text = model_.IdToPiece(piece);
    if (model_.IsByte(piece)) {  // <0x0A>
      out += static_cast<char>(std::stoi(std::string(text.substr(3, 2)), nullptr, 16));
      return;
    }
    constexpr std::string_view space = "\xe2\x96\x81";
    if (first && text.starts_with(space)) text.remove_prefix(space.size());
    for (std::size_t at; (at = text.find(space)) != std::string_view::npos; text.remove_prefix(at + space.size()))
      (out += text.substr(0, at)) += ' ';
    out += text;
  }

 private:
  bool known(std::int64_t id) const { return id >= 0 && id < vocabulary(); }
  sentencepiece::SentencePieceProcessor model_;
  std::int64_t begin_ = -1;
};

}  // namespace detail

template <class>
std::unique_ptr<tokenizer> open_sentencepiece(const std::string& shown, std::string_view bytes,
                                              const tokenizer_settings& settings) {
  return std::make_unique<detail::sentencepiece_tokenizer>(shown, bytes, settings);
}

#else

template <class>
std::unique_ptr<tokenizer> open_sentencepiece(const std::string& shown, std::string_view, const tokenizer_settings&) {
  throw input_error(shown, "",
                    "needs sentencepiece, which this program was built without; install libsentencepiece-dev and build it "
                    "again, or convert the tokenizer to tokenizer.json");
}

#endif

template std::unique_ptr<tokenizer> open_sentencepiece<void>(const std::string&, std::string_view, const tokenizer_settings&);

}  // namespace plait::inline v0_1::io
