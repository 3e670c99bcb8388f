#pragma once
// The tokens of --tokens FILE: a safetensors file with input_ids [B, S] (and perhaps labels and attention_mask of the
// same shape), or any other file as text whose bytes are the tokens.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "plait/io/error.hpp"
#include "plait/io/file.hpp"
#include "plait/io/safetensors.hpp"

namespace plait::inline v0_1::io {

inline constexpr std::int64_t ignored_label = -100;

/// Rows of tokens, all of one width; row-major.
struct token_rows {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<std::int64_t> input_ids;  ///< rows x columns
  std::vector<std::int64_t> labels;     ///< rows x columns, aligned with input_ids (not shifted); -100 is ignored
  std::vector<std::int64_t> length;     ///< of each row without its padding on the right
  bool has_labels = false;              ///< false: labels are the input_ids
  bool has_mask = false;                ///< false: every length is `columns`
};

namespace detail {

inline std::vector<std::int64_t> read_integers(const safetensors_file& file, const tensor_entry& entry, bool one_byte_types) {
  const std::string field = "tensor " + in_quotes(entry.name);
  const std::size_t size = bits_of(entry.type) / 8;
  const bool one_byte = entry.type == element::boolean || entry.type == element::u8 || entry.type == element::i8;
  if (entry.type != element::i64 && entry.type != element::i32 && !(one_byte_types && one_byte))
    throw input_error(file.path(), field, std::string("is of type ") + name_of(entry.type) + "; I64 or I32 belongs here");
  std::vector<char> raw(static_cast<std::size_t>(entry.bytes()));
  file.read(entry, raw.data());
  std::vector<std::int64_t> out(raw.size() / size);
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (entry.type == element::i64) {
      std::memcpy(&out[i], raw.data() + 8 * i, 8);
    } else if (entry.type == element::i32) {
      std::int32_t value;
      std::memcpy(&value, raw.data() + 4 * i, 4);
      out[i] = value;
    } else {
      out[i] = static_cast<unsigned char>(raw[i]);
    }
  }
  return out;
}

inline std::string place_of(std::int64_t at, std::int64_t columns) {
  return "row " + std::to_string(at / columns) + ", column " + std::to_string(at % columns);
}

inline token_rows read_token_tensors(const std::string& path, std::int64_t vocabulary) {
  const safetensors_file file(path);
  const tensor_entry* ids = file.find("input_ids");
  if (!ids)
    throw input_error(path, "tensor \"input_ids\"", "is missing; store the tokens under this name, shape [rows, columns]");
  file.require_loadable(*ids);
  if (ids->rank != 2)
    throw input_error(path, "tensor \"input_ids\"", "has shape " + shape_text(ids->shape()) + "; [rows, columns] belongs here");
  token_rows out;
  out.rows = ids->extent[0];
  out.columns = ids->extent[1];
  if (out.rows == 0 || out.columns == 0)
    throw input_error(path, "tensor \"input_ids\"",
                      "has shape " + shape_text(ids->shape()) + ": no tokens; give at least one row");
  out.input_ids = read_integers(file, *ids, false);
  const auto same_shape = [&](const char* name) -> const tensor_entry* {
    const tensor_entry* entry = file.find(name);
    if (!entry) return nullptr;
    if (entry->rank != 2 || !std::ranges::equal(entry->shape(), ids->shape()))
      throw input_error(
          path, "tensor " + in_quotes(name),
          "has shape " + shape_text(entry->shape()) + ", input_ids has " + shape_text(ids->shape()) + "; make them equal");
    return entry;
  };
  const auto count = static_cast<std::int64_t>(out.input_ids.size());
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t id = out.input_ids[static_cast<std::size_t>(i)];
    if (id < 0 || (vocabulary > 0 && id >= vocabulary))
      throw input_error(
          path, "tensor \"input_ids\"",
          "holds " + std::to_string(id) + " in " + place_of(i, out.columns) +
              (vocabulary > 0 ? "; tokens go from 0 to " + std::to_string(vocabulary - 1) : "; tokens cannot be negative"));
  }
  if (const tensor_entry* labels = same_shape("labels")) {
    out.has_labels = true;
    out.labels = read_integers(file, *labels, false);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t label = out.labels[static_cast<std::size_t>(i)];
      if (label != ignored_label && (label < 0 || (vocabulary > 0 && label >= vocabulary)))
        throw input_error(path, "tensor \"labels\"",
                          "holds " + std::to_string(label) + " in " + place_of(i, out.columns) + "; tokens or -100 belong here");
    }
  } else {
    out.labels = out.input_ids;
  }
  out.length.assign(static_cast<std::size_t>(out.rows), out.columns);
  if (const tensor_entry* mask = same_shape("attention_mask")) {
    out.has_mask = true;
    const std::vector<std::int64_t> bits = read_integers(file, *mask, true);
    for (std::int64_t r = 0; r < out.rows; ++r) {
      const auto row = bits.begin() + r * out.columns;
      std::int64_t ones = 0;
      while (ones < out.columns && row[ones] == 1) ++ones;
      for (std::int64_t c = ones; c < out.columns; ++c) {
        if (row[c] == 0) continue;
        const char* problem = row[c] == 1 ? "is not padded on the right; move the padding to the end of the row"
                                          : "holds other numbers than 0 and 1; write 1 for a token and 0 for padding";
        throw input_error(path, "tensor \"attention_mask\", row " + std::to_string(r), problem);
      }
      out.length[static_cast<std::size_t>(r)] = ones;
    }
  }
  return out;
}

}  // namespace detail

/// Whether a file holds tensors rather than a text: by its name, or because it begins as safetensors do, with the length of a header that
/// opens with a brace. Four bytes of that length are zero, as no text's are.
inline bool is_token_tensor_file(const std::string& path) {
  std::error_code problem;
  if (path.ends_with(".safetensors") || !std::filesystem::is_regular_file(path, problem)) return path.ends_with(".safetensors");
  char head[9] = {};
  return std::ifstream(path, std::ios::binary).read(head, sizeof head) && head[8] == '{' && std::all_of(head + 4, head + 8, [](char c) { return c == 0; });
}

/// A file of text, whole. Formats that are often given by mistake, whose bytes would train as well as any, are refused.
inline std::string read_text(const std::string& path) {
  using namespace std::string_view_literals;
  constexpr struct {
    std::string_view begins, what, instead;
  } known[] = {{"\x1f\x8b"sv, "compressed by gzip", "decompress it first"},    {"\x28\xb5\x2f\xfd"sv, "compressed by zstd", "decompress it first"},
               {"\xfd" "7zXZ\0"sv, "compressed by xz", "decompress it first"},  {"BZh91AY&SY"sv, "compressed by bzip2", "decompress it first"},
               {"PK\3\4"sv, "a zip archive", "unpack it first"},              {"\x93NUMPY"sv, "a NumPy array", "save its ids as safetensors, input_ids [B, S]"},
               {"PAR1\x15"sv, "a Parquet file", "write its text, or its ids as safetensors"}};
  std::string text = read_text_file(path, std::uint64_t{1} << 32);
  for (const auto& format : known)
    if (text.starts_with(format.begins)) throw input_error(path, "", "is " + std::string(format.what) + ", not a text; " + std::string(format.instead));
  return text;
}

/// Text as rows of `columns` bytes each, a shorter rest at the end left out.
inline token_rows tokens_of_text(std::string_view file, std::string_view text, std::int64_t columns, std::int64_t vocabulary) {
  if (text.empty()) throw input_error(file, "", "is empty; give a text with at least one row of tokens");
  if (columns <= 0) throw input_error(file, "", "is a text: say how long a row is (--seq)");
  token_rows out;
  out.columns = columns;
  out.rows = static_cast<std::int64_t>(text.size()) / columns;
  if (out.rows == 0)
    throw input_error(file, "",
                      "has only " + std::to_string(text.size()) + " bytes, less than one row of " + std::to_string(columns) +
                          "; give a longer text or a smaller --seq");
  out.input_ids.resize(static_cast<std::size_t>(out.rows * columns));
  for (std::size_t i = 0; i < out.input_ids.size(); ++i) {
    const std::int64_t id = static_cast<unsigned char>(text[i]);
    if (vocabulary > 0 && id >= vocabulary)
      throw input_error(file, "byte " + std::to_string(i),
                        "is " + std::to_string(id) + ", but the model's tokens go from 0 to " + std::to_string(vocabulary - 1) +
                            "; use a text of smaller bytes");
    out.input_ids[i] = id;
  }
  out.labels = out.input_ids;
  out.length.assign(static_cast<std::size_t>(out.rows), columns);
  return out;
}

/// Reads `path`: tensors if is_token_tensor_file says so, anything else is text cut into rows of `columns` bytes. Every token must be below `vocabulary` (0: not checked).
inline token_rows read_tokens(const std::string& path, std::int64_t vocabulary, std::int64_t columns) {
  if (is_token_tensor_file(path)) return detail::read_token_tensors(path, vocabulary);
  return tokens_of_text(path, read_text(path), columns, vocabulary);
}

/// `count` consecutive rows from `first` on, wrapping around at the end.
inline token_rows take_rows(const token_rows& all, std::int64_t first, std::int64_t count) {
  token_rows out;
  out.rows = count;
  out.columns = all.columns;
  out.has_labels = all.has_labels;
  out.has_mask = all.has_mask;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = (first + i) % all.rows;
    const auto from = row * all.columns;
    const auto append = [&](std::vector<std::int64_t>& to, const std::vector<std::int64_t>& source) {
      to.insert(to.end(), source.begin() + from, source.begin() + from + all.columns);
    };
    append(out.input_ids, all.input_ids);
    append(out.labels, all.labels);
    out.length.push_back(all.length[static_cast<std::size_t>(row)]);
  }
  return out;
}

}  // namespace plait::inline v0_1::io
