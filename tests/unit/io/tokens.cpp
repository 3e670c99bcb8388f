// --tokens FILE: token tensors and text.
#include "plait/io/tokens.hpp"
#include "plait/io/write_safetensors.hpp"

#include <doctest/doctest.h>

#include <numeric>

#include "support.hpp"

using namespace plait::io;
using namespace io_tests;

TEST_CASE("token tensors") {
  const scratch folder;
  const std::string path = folder.file("t.safetensors");
  const std::vector<std::int64_t> ids{1, 2, 3, 4, 5, 6}, labels{1, -100, 3, 4, 5, -100}, mask{1, 1, 1, 1, 0, 0};
  using tensors = std::vector<tensor_to_write>;

  write_safetensors(path, tensors{{"input_ids", element::i64, {2, 3}, ids.data()}, {"other", element::i64, {6}, ids.data()}});
  token_rows rows = read_tokens(path, 7, 0);
  CHECK(rows.rows == 2);
  CHECK(rows.columns == 3);
  CHECK(rows.input_ids == ids);
  CHECK(rows.labels == ids);
  CHECK(rows.length == std::vector<std::int64_t>{3, 3});
  CHECK_FALSE(rows.has_labels);
  CHECK_FALSE(rows.has_mask);

  write_safetensors(path, tensors{{"input_ids", element::i64, {2, 3}, ids.data()},
                                  {"labels", element::i64, {2, 3}, labels.data()},
                                  {"attention_mask", element::i64, {2, 3}, mask.data()}});
  rows = read_tokens(path, 7, 0);
  CHECK(rows.labels == labels);
  CHECK(rows.length == std::vector<std::int64_t>{3, 1});
  CHECK(rows.has_labels);
  CHECK(rows.has_mask);
  const token_rows taken = take_rows(rows, 3, 3);  // rows 1, 0, 1
  CHECK(taken.rows == 3);
  CHECK(taken.input_ids == std::vector<std::int64_t>{4, 5, 6, 1, 2, 3, 4, 5, 6});
  CHECK(taken.labels == std::vector<std::int64_t>{4, 5, -100, 1, -100, 3, 4, 5, -100});
  CHECK(taken.length == std::vector<std::int64_t>{1, 3, 1});

  const std::vector<std::int32_t> small_ids{6, 5};
  const std::vector<std::uint8_t> bits{0, 0};
  write_safetensors(path, tensors{{"input_ids", element::i32, {1, 2}, small_ids.data()},
                                  {"attention_mask", element::boolean, {1, 2}, bits.data()}});
  rows = read_tokens(path, 7, 0);
  CHECK(rows.input_ids == std::vector<std::int64_t>{6, 5});
  CHECK(rows.length == std::vector<std::int64_t>{0});  // a row may be all padding
}

TEST_CASE("tensors are known by what a file begins with, too") {
  const scratch folder;
  const std::string path = folder.file("tokens.bin");
  const std::vector<std::int64_t> ids{1, 2, 3, 4, 5, 6};
  write_safetensors(path, std::vector<tensor_to_write>{{"input_ids", element::i64, {2, 3}, ids.data()}});
  CHECK(is_token_tensor_file(path));
  CHECK(read_tokens(path, 7, 2).input_ids == ids);
  for (const std::string_view text : {"", "{", "12345678{\"a\": 1}", "{\"a\": 1, \"b\": {}}"}) {
    write_text_file(path, text);
    CHECK_FALSE(is_token_tensor_file(path));
  }
  CHECK_FALSE(is_token_tensor_file(folder.path));
  CHECK_FALSE(is_token_tensor_file(folder.file("none")));
}

TEST_CASE("what is no text, though its bytes could be trained on") {
  using namespace std::string_view_literals;
  const scratch folder;
  const std::string path = folder.file("t.txt");
  for (const auto& [begins, part] : {std::pair{"\x1f\x8b\x08"sv, "gzip, not a text; decompress"sv}, {"\x28\xb5\x2f\xfd"sv, "zstd"sv}, {"\xfd" "7zXZ\0"sv, "xz"sv},
                                     {"BZh91AY&SY"sv, "bzip2"sv}, {"PK\3\4"sv, "zip archive"sv}, {"\x93NUMPY\1"sv, "input_ids [B, S]"sv}, {"PAR1\x15"sv, "Parquet"sv}}) {
    write_text_file(path, std::string(begins) + std::string(100, 'x'));
    const auto message = refusal([&] { read_tokens(path, 0, 8); });
    CHECK_MESSAGE((contains(message, part) && contains(message, path)), message.value_or("accepted"));
  }
  write_text_file(path, "PK or BZh, PAR1");
  CHECK(read_tokens(path, 0, 5).rows == 3);
}

TEST_CASE("refused token tensors") {
  const scratch folder;
  const std::string path = folder.file("t.safetensors");
  const auto says = [&](const std::vector<tensor_to_write>& tensors, std::string_view part) {
    write_safetensors(path, tensors);
    const auto message = refusal([&] { read_tokens(path, 7, 0); });
    CHECK_MESSAGE(contains(message, part), message.value_or("accepted"));
    CHECK(contains(message, path));
  };
  const std::vector<std::int64_t> ids{1, 2, 3, 4, 5, 6};
  const auto good = tensor_to_write{"input_ids", element::i64, {2, 3}, ids.data()};
  const auto with = [&](const char* name, const std::vector<std::int64_t>& data) {
    return std::vector<tensor_to_write>{good, {name, element::i64, {2, 3}, data.data()}};
  };
  says({}, "\"input_ids\": is missing");
  says({{"input_ids", element::i64, {0, 3}, ids.data()}}, "at least one row");
  says({{"input_ids", element::i64, {2, 0}, ids.data()}}, "at least one row");
  says({{"input_ids", element::i64, {6}, ids.data()}}, "has shape [6]");
  says({{"input_ids", element::i64, {1, 2, 3}, ids.data()}}, "has shape [1, 2, 3]");
  says({{"input_ids", element::i64, {1, 1, 1, 1, 1, 1, 1, 1, 1}, ids.data()}}, "9 dimensions");
  says({{"input_ids", element::f64, {2, 3}, ids.data()}}, "of type F64; I64 or I32");
  says({{"input_ids", element::u8, {2, 3}, ids.data()}}, "of type U8");
  const std::vector<std::int64_t> high{1, 2, 3, 4, 7, 6}, negative{1, -1, 3, 4, 5, 6};
  says({{"input_ids", element::i64, {2, 3}, high.data()}}, "holds 7 in row 1, column 1; tokens go from 0 to 6");
  says({{"input_ids", element::i64, {2, 3}, negative.data()}}, "holds -1 in row 0, column 1");
  says({good, {"labels", element::i64, {3, 2}, ids.data()}}, "has shape [3, 2], input_ids has [2, 3]");
  says(with("labels", {1, 2, 3, 4, 5, 7}), "\"labels\": holds 7");
  says(with("labels", {1, 2, 3, 4, -1, 5}), "\"labels\": holds -1 in row 1, column 1");
  says({good, {"attention_mask", element::i64, {6}, ids.data()}}, "has shape [6]");
  says(with("attention_mask", {1, 1, 1, 0, 1, 1}), "\"attention_mask\", row 1: is not padded on the right");
  says(with("attention_mask", {1, 0, 1, 1, 1, 1}), "\"attention_mask\", row 0: is not padded on the right");
  says(with("attention_mask", {1, 1, 1, 2, 0, 0}), "\"attention_mask\", row 1: holds other numbers");
  says(with("attention_mask", {1, 1, -1, 1, 0, 0}), "\"attention_mask\", row 0: holds other numbers");
  write(path, "no safetensors at all");
  CHECK(contains(refusal([&] { read_tokens(path, 7, 0); }), "header length"));
  write(path, "");
  CHECK(contains(refusal([&] { read_tokens(path, 7, 0); }), "fewer than 8 bytes"));
}

TEST_CASE("text") {
  const scratch folder;
  const std::string path = folder.file("t.txt");
  write(path, "abcdefg\xff");
  const token_rows rows = read_tokens(path, 256, 3);
  CHECK(rows.rows == 2);
  CHECK(rows.columns == 3);
  CHECK(rows.input_ids == std::vector<std::int64_t>{'a', 'b', 'c', 'd', 'e', 'f'});
  CHECK(rows.length == std::vector<std::int64_t>{3, 3});
  CHECK(read_tokens(path, 256, 8).input_ids.back() == 255);
  CHECK(contains(refusal([&] { read_tokens(path, 100, 4); }), "byte 3: is 100, but the model's tokens go from 0 to 99"));
  CHECK(contains(refusal([&] { read_tokens(path, 256, 9); }), "has only 8 bytes"));
  CHECK(contains(refusal([&] { read_tokens(path, 256, 0); }), "--seq"));
  write(path, "");
  CHECK(contains(refusal([&] { read_tokens(path, 256, 4); }), "is empty"));
  CHECK(contains(refusal([&] { read_tokens(folder.file("none"), 256, 4); }), "cannot be opened"));
}

TEST_CASE("the oracles' batches") {
  if (has_oracle("mixtral_padded")) {
    const token_rows rows = read_tokens(oracle("mixtral_padded") + "/oracle.safetensors", 96, 0);
    CHECK(rows.rows == 2);
    CHECK(rows.columns == 20);
    CHECK(rows.has_labels);
    CHECK(rows.has_mask);
    CHECK(rows.length[0] != rows.length[1]);
  }
  if (has_oracle("mixtral")) {
    const token_rows rows = read_tokens(oracle("mixtral") + "/oracle.safetensors", 96, 0);
    CHECK(rows.rows * rows.columns == 40);
    CHECK_FALSE(rows.has_mask);
  }
}
