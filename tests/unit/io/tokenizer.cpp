// Tokenizers: what Hugging Face tokenizers gives for a text, streaming, and the refusal of files that plait cannot apply exactly.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "plait/io/open_tokenizer.hpp"
#include "support.hpp"

using namespace plait::io;
using namespace io_tests;

namespace {

std::vector<std::int64_t> numbers(const json_value& list) {
  std::vector<std::int64_t> out;
  for (const json_value& item : list.items) out.push_back(static_cast<std::int64_t>(item.natural));
  return out;
}

std::string streamed(const tokenizer& t, const std::vector<std::int64_t>& ids, bool skip_special) {
  text_stream stream(t, skip_special);
  std::string text;
  for (const std::int64_t id : ids) {
    const std::string part = stream.push(id);
    CHECK(is_utf8(part));
    text += part;
  }
  return text + stream.finish();
}

/// Compares every case of FOLDER/*/cases.jsonl; how many there were.
std::size_t compare(const std::string& folder) {
  std::size_t cases = 0, wrong = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (!fs::exists(path + "/tokenizer.json")) continue;
    const std::string name = path + "/tokenizer.json";
    const auto t = open_tokenizer_json(name, slurp(name));
    std::ifstream lines(path + "/cases.jsonl");
    std::string line;
    while (std::getline(lines, line)) {
      const json_value c = parse_json_tree(path + "/cases.jsonl", line);
      const std::vector<std::int64_t> ids = numbers(*c.find("ids"));
      ++cases;
      if (const json_value* text = c.find("text")) {
        const auto ours = t->encode(text->text, c.find("add_special")->flag);
        if (ours != ids && ++wrong < 20) {
          std::string a, b;
          for (const std::int64_t id : ours) a += std::to_string(id) + ' ';
          for (const std::int64_t id : ids) b += std::to_string(id) + ' ';
          FAIL_CHECK(name << ": " << printable(text->text, 1000) << "\n ours   " << a << "\n theirs " << b);
        }
      }
      const json_value* decoded = c.find("decoded");
      if (decoded->is_null()) continue;  // versions of tokenizers differ
      const bool skip = c.find("skip_special")->flag;
      const std::string text = streamed(*t, ids, skip);
      if (text != decoded->text && ++wrong < 20)
        FAIL_CHECK(name << ": decoded " << printable(text, 1000) << "\n theirs " << printable(decoded->text, 1000));
      utf8_stream whole;
      std::string at_once = whole.push(t->decode(ids, skip));
      at_once += whole.finish();
      CHECK(at_once == text);
    }
  }
  CHECK(wrong == 0);
  return cases;
}

const std::string fixtures = std::string(PLAIT_TEST_DATA) + "/data/tokenizers";
std::string fixture(const char* name) { return slurp(fixtures + "/" + name + "/tokenizer.json"); }

/// The text with its first `from` replaced.
std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  REQUIRE_MESSAGE(at != std::string::npos, from);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("ids and decoded text are what tokenizers gives") {
  CHECK(compare(fixtures) > 250);
  if (const char* more = std::getenv("PLAIT_TOKENIZERS_DIR")) MESSAGE(compare(more) << " cases of " << std::string(more));
}

TEST_CASE("bytes: every text comes back") {
  const byte_tokenizer t;
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  const auto ids = t.encode(all);
  CHECK(ids.size() == 256);
  CHECK(ids.back() == 255);
  CHECK(t.vocabulary() == 256);
  CHECK(t.decode(ids) == all);
  CHECK(t.decode(std::vector<std::int64_t>{-1, 65, 256, 1'000'000'000'000}) == "A");
  CHECK(!t.is_end_of_text(0));
  CHECK_NOTHROW(require_vocabulary(t, 256, "m"));
  CHECK(contains(refusal([&] { require_vocabulary(t, 255, "m"); }), "m: vocab_size: is 255"));
}

TEST_CASE("byte-level BPE: any bytes come back where nothing is normalised") {
  std::mt19937 random(7);
  for (const char* name : {"gpt2", "llama3"}) {
    const auto t = open_tokenizer_json(name, fixture(name));
    for (int round = 0; round < 2000; ++round) {
      std::string text;
      for (std::size_t n = random() % 40; n > 0; --n) text += static_cast<char>(random() % (round % 2 ? 256 : 128));
      CHECK(t->decode(t->encode(text, false), false) == text);
    }
  }
}

TEST_CASE("a stream never shows half a character") {
  utf8_stream s;
  CHECK(s.push("a\xe2") == "a");
  CHECK(s.push("\x82") == "");
  CHECK(s.push("\xac!") == "\xe2\x82\xac!");
  CHECK(s.push("\xf0\x9f\x91") == "");
  CHECK(s.finish() == "\xef\xbf\xbd");
  CHECK(s.finish() == "");
  CHECK(s.push("\xe2\x82") == "");
  CHECK(s.push("x") == "\xef\xbf\xbdx");  // one sign for the broken beginning, as Python writes it
  CHECK(s.push("\x80\xff\xc0\xaf") == "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  CHECK(s.push("\xe0\x80\x80") == "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // too long for its value
  CHECK(s.push("\xed\xa0\x80") == "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate
  CHECK(s.push("\xf4\x90") == "\xef\xbf\xbd\xef\xbf\xbd");                  // above U+10FFFF
  CHECK(s.finish() == "");
}

TEST_CASE("words end where the patterns say") {
  const auto words = [](split_pattern pattern, std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = word_end(pattern, text, at);
      REQUIRE(end > at);
      (out += text.substr(at, end - at)) += '|';
      at = end;
    }
    return out;
  };
  using enum split_pattern;
  CHECK(words(gpt2, "I'S 1234's  b\n") == "I|'|S| 1234|'s| | b|\n|");
  CHECK(words(llama3, "I'S 1234's  b\n") == "I|'S| |123|4|'s| | b|\n|");
  CHECK(words(qwen2, "I'LL 12") == "I|'LL| |1|2|");
  CHECK(words(llama3,
              "x'\xc5\xbf"
              "a") == "x|'\xc5\xbf|a|");  // the long s folds to s
  CHECK(words(llama3, " \n \n  y!?\r\n\tx\nx\xc2\xa0z") == " \n \n| | y|!?\r\n|\tx|\n|x|\xc2\xa0z|");
  CHECK(words(gpt2, "\xff\xff a\xe2\x82") == "\xff\xff| a|\xe2\x82|");
  CHECK(words(none, "a b") == "a b|");
  CHECK(pattern_of_regex("x") == std::nullopt);
}

TEST_CASE("normalisation form C") {
  CHECK(nfc("e\xcc\x81") == "\xc3\xa9");
  CHECK(nfc("\xe2\x84\xab") == "\xc3\x85");                              // Angstrom sign
  CHECK(nfc("a\xcc\x82\xcc\xa3") == "\xe1\xba\xad");                     // a, circumflex, dot below: sorted, then composed
  CHECK(nfc("\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8") == "\xea\xb0\x81");  // Hangul
  CHECK(nfc("\xe0\xa5\x98") == "\xe0\xa4\x95\xe0\xa4\xbc");              // never composes again
  CHECK(nfc("\xff"
            "e\xcc\x81\xe2\x82") == "\xff\xc3\xa9\xe2\x82");  // broken bytes stay
  CHECK(nfc("a\xcc\x85\xcc\x81") == "a\xcc\x85\xcc\x81");     // the overline stands between
  std::string marks = "a";
  for (int i = 0; i < 200'000; ++i) marks += i % 2 ? "\xcc\x81" : "\xcc\xa3";
  const std::string sorted = nfc(marks);  // at once, too
  CHECK(sorted.starts_with("\xe1\xba\xa1\xcc\xa3\xcc\xa3"));
  CHECK(nfc(sorted) == sorted);
}

TEST_CASE("long words are merged without going quadratic") {
  const auto t = open_tokenizer_json("llama3", fixture("llama3"));
  const std::string word(2'000'000, 'e'), spaces(2'000'000, ' ');
  CHECK(t->decode(t->encode(word, false)) == word);
  CHECK(t->decode(t->encode("\n" + spaces + "x", false)) == "\n" + spaces + "x");
}

TEST_CASE("a folder's tokenizer") {
  const scratch folder;
  CHECK(open_tokenizer(folder.path)->kind() == "bytes");
  write(folder.file("tokenizer.model"), "no model");  // refused in any case, but only if nothing else is there
  CHECK(contains(refusal([&] { open_tokenizer(folder.path); }), "tokenizer.model: "));
  write(folder.file("tokenizer.json"), fixture("llama3"));
  const auto t = open_tokenizer(folder.path + "/");
  CHECK(t->kind() == "tokenizer.json");
  CHECK(t->end_of_text().empty());
  const auto ids = t->encode("a");
  CHECK(ids.size() == 2);
  CHECK(t->is_special(ids[0]));
  CHECK(t->decode(ids) == "a");
  CHECK(t->decode(ids, false) == "<|endoftext|>a");
  for (const char* said : {R"({"eos_token":"<|end|>"})", R"({"eos_token":{"content":"<|end|>","lstrip":false}})"}) {
    write(folder.file("tokenizer_config.json"), said);
    const auto with_end = open_tokenizer(folder.path);
    REQUIRE(with_end->end_of_text().size() == 1);
    CHECK(with_end->is_end_of_text(with_end->encode("<|end|>", false).at(0)));
    CHECK(!with_end->is_end_of_text(65));
  }
  write(folder.file("tokenizer_config.json"), R"({"eos_token":"<|nowhere|>"})");
  CHECK(contains(refusal([&] { open_tokenizer(folder.path); }),
                 "tokenizer_config.json: eos_token: \"<|nowhere|>\" is no added token"));
  write(folder.file("tokenizer_config.json"), R"({"eos_token":7})");
  CHECK(contains(refusal([&] { open_tokenizer(folder.path); }), "eos_token: is neither"));
  fs::remove(folder.file("tokenizer.json"));
  fs::create_symlink("/etc/passwd", folder.file("tokenizer.json"));
  fs::remove(folder.file("tokenizer_config.json"));
  CHECK(contains(refusal([&] { open_tokenizer(folder.path); }), "leaves the folder"));
}

TEST_CASE("tokenizer.model") {
  const std::string path = std::string(PLAIT_TEST_DATA) + "/data/tokenizer_model";
#if defined(PLAIT_HAS_SENTENCEPIECE)
  const auto t = open_tokenizer(path);
  CHECK(t->kind() == "tokenizer.model");
  REQUIRE(t->end_of_text().size() == 1);
  CHECK(t->is_special(t->end_of_text().front()));
  std::ifstream lines(path + "/cases.jsonl");
  std::string line;
  std::size_t cases = 0;
  for (; std::getline(lines, line); ++cases) {
    const json_value c = parse_json_tree(path, line);
    const auto ids = numbers(*c.find("ids"));
    CHECK(t->encode(c.find("text")->text, false) == ids);
    CHECK(streamed(*t, ids, true) == c.find("decoded")->text);
    const auto begun = t->encode(c.find("text")->text);  // with the begin of text that Llama 2 wants
    REQUIRE(begun.size() == ids.size() + 1);
    CHECK(t->is_special(begun[0]));
    CHECK(streamed(*t, begun, false) == c.find("decoded")->text);
  }
  CHECK(cases > 10);
  CHECK(t->decode(std::vector<std::int64_t>{-1, 1'000'000}) == "");
#else
  CHECK(contains(refusal([&] { open_tokenizer(path); }), "tokenizer.model: needs sentencepiece"));
#endif
}

TEST_CASE("what plait cannot apply exactly is refused, and the line names field and fix") {
  const std::string good = fixture("qwen2");
  REQUIRE_NOTHROW(open_tokenizer_json("f", good));
  const auto refused = [&](std::string_view from, std::string_view to, std::string_view with) {
    const auto said = refusal([&] { open_tokenizer_json("f", replaced(good, from, to)); });
    CHECK_MESSAGE(contains(said, with), to << " gave " << said.value_or("no refusal"));
  };
  refused(R"("version":"1.0")", R"("version":"2.0")", "f: version: is not \"1.0\"");
  refused(R"("truncation":null)", R"("truncation":{"max_length":8})", "f: truncation: is set");
  refused(R"("padding":null)", R"("padding":{})", "f: padding: is set");
  refused(R"({"type":"NFC"})", R"({"type":"NFKC"})", "f: normalizer: is of type \"NFKC\"");
  refused(R"({"type":"NFC"})", R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"x"}]})", "\"Prepend\"");
  refused(R"({"type":"NFC"})", R"({"type":"NFC","x":1})", "f: normalizer.\"x\": is a field that plait does not know");
  refused(R"("invert":false)", R"("invert":true)", "behavior");
  refused(R"("Isolated")", R"("Removed")", "behavior");
  refused(R"(\\p{N}|)", R"(\\p{N}{1,2}|)", "pattern.Regex: is not the split pattern of");
  refused(R"({"type":"Split")", R"({"type":"Digits")", "is not Split followed by ByteLevel");
  refused(R"("use_regex":false)", R"("use_regex":true)", "splits again");
  refused(R"("use_regex":false)", R"("use_regex":1)", "true or false belongs here");
  refused(R"("decoder":{"type":"ByteLevel")", R"("decoder":{"type":"WordPiece")", "f: decoder: is of type");
  refused(R"("type":"BPE")", R"("type":"Unigram")", "f: model.type: is \"Unigram\"");
  refused(R"("byte_fallback":false)", R"("byte_fallback":true)", "take tokenizer.json out of it");
  refused(R"("dropout":null)", R"("dropout":0.1)", "f: model.dropout");
  refused(R"("end_of_word_suffix":null)", R"("end_of_word_suffix":"</w>")", "f: model.end_of_word_suffix");
  refused(R"("ignore_merges":false)", R"("ignore_words":false)", "model.\"ignore_words\"");
  refused(R"("single_word":false)", R"("single_word":true)", "f: added_tokens[0].single_word");
  refused(R"("content":"<|endoftext|>")", R"("content":"")", "added_tokens[0].content: is empty");
  refused(R"("content":"<|im_start|>")", R"("content":"<|endoftext|>")", "is there twice");
  refused(R"("vocab":{)", R"("vocab":{"extra":-1,)", "model.vocab: the id of \"extra\" is a negative number");
  refused(R"("vocab":{)", R"("vocab":{"extra":4194304,)", "at most 4194303");
  refused(R"("vocab":{)", R"("vocab":{"extra":0,)", "has the id 0 of");
  refused(R"("vocab":{)", R"("vocab":{"a":5000,)", "is there twice");
  refused(R"("vocab":{)", R"("vocab":{"extra":[],)", "is a list");
  refused(R"("vocab":{)", R"("vocab":[{)", "f: ");
  refused(R"("a":)", R"("aaaaaaaaaaaaaa":)", "model.vocab[\"a\"]: is missing: byte 97");
  refused(R"("merges":[[)", R"("merges":[["a","q q"],[)", "model.merges[0]: needs the token");
  refused(R"("merges":[[)", R"("merges":[["a"],[)", "merge 0 has fewer than two tokens");
  refused(R"("merges":[[)", R"("merges":[["a","b","c"],[)", "merge 0 has more than two");
  refused(R"("merges":[[)", R"("merges":["a b",[)", "some are texts and some are lists");
  refused(R"("merges":[[)", R"("merges":[[1,2],[)", "merge 0 is or holds a number");
  refused(R"("merges":[[)", R"("merges":null,"x":[[)", "is null");
  refused(R"("merges":)", R"("merges":[],"merges":)", "is there twice");
  refused(R"("model":{)", R"("model":{"type":"BPE",)", "twice");
  refused(R"("model":{)", R"("models":{)", "\"models\": is a field that plait does not know");
  const std::string strings = fixture("gpt2");
  for (const char* bad : {"ab", "a b c", " a", "a ", "a  b", ""})
    CHECK(contains(refusal([&] {
                     open_tokenizer_json("f", replaced(strings, R"("merges":[)", std::string(R"("merges":[")") + bad + "\","));
                   }),
                   "two tokens with one space between"));
  CHECK(contains(
      refusal([&] { open_tokenizer_json("f", replaced(strings, R"("use_regex":true)", R"("use_regex":true,"later":1)")); }),
      "pre_tokenizer.\"later\""));
  const std::string pair = good.substr(good.find(R"("merges":[[)") + 10,
                                       good.find(']', good.find(R"("merges":[[)")) - good.find(R"("merges":[[)") - 9);
  refused(R"("merges":[)", R"("merges":[)" + pair + ",", "merges a pair for the second time");
  refused(R"("vocab":{)", R"("vocab":{")" + std::string(5000, 'x') + R"(":5000,)", "is longer than 4096");
  for (const char* bad : {"", "[]", "null", "{}", R"({"model":[]})", R"({"model":{"vocab":[]}})"})
    CHECK(refusal([&] { open_tokenizer_json("f", bad); }));
  const std::string template_file = fixture("llama3");
  const auto template_refused = [&](std::string_view from, std::string_view to, std::string_view with) {
    CHECK_MESSAGE(contains(refusal([&] { open_tokenizer_json("f", replaced(template_file, from, to)); }), with), to);
  };
  template_refused(R"("ids":[)", R"("ids":[99999,)", "f: post_processor: adds the id 99999");
  template_refused(R"("ids":[)", R"("ids":[1.5,)", "is not an id");
  template_refused(R"("single":[)", R"("single":[{"Sequence":{"id":"B","type_id":0}},)", "is not the text once");
  template_refused(R"("single":[)", R"("single":[{"SpecialToken":{"id":"<|x|>","type_id":0}},)",
                   "special_tokens[\"<|x|>\"]: is missing");
  template_refused(R"("TemplateProcessing")", R"("BertProcessing")", "f: post_processor: is of type \"BertProcessing\"");
}
