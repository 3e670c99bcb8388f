#pragma once
// What the tests of plait/io share: scratch folders, files of given bytes, and the shape of a refusal.
#include <doctest/doctest.h>
#include <stdlib.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include "plait/io/error.hpp"

#ifndef PLAIT_TEST_DATA
#define PLAIT_TEST_DATA "tests"
#endif

namespace io_tests {

namespace fs = std::filesystem;

/// A folder that is removed at the end.
struct scratch {
  std::string path;
  scratch() {
    std::string pattern = (fs::temp_directory_path() / "plait-io-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = fs::canonical(pattern).string();
  }
  scratch(const scratch&) = delete;
  scratch& operator=(const scratch&) = delete;
  ~scratch() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  std::string file(std::string_view name) const { return path + "/" + std::string(name); }
};

inline void write(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(out.good());
}

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// Header length, header, `data` zero bytes.
inline std::string safetensors_bytes(std::string_view header, std::size_t data = 0) {
  std::uint64_t length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  out += header;
  return out.append(data, '\0');
}

/// A clean line: no control bytes, broken UTF-8 or endless text.
inline bool is_one_line(std::string_view message) {
  for (const char c : message)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  return !message.empty() && message.size() < 900 && plait::io::is_utf8(message);
}

/// The message of the input_error that `run` throws; nothing where it throws none.
template <class Run>
std::optional<std::string> refusal(Run run) {
  try {
    run();
  } catch (const plait::io::input_error& error) {
    CHECK_MESSAGE(is_one_line(error.what()), error.what());
    return error.what();
  }
  return std::nullopt;
}

inline bool contains(const std::optional<std::string>& text, std::string_view part) {
  return text && text->find(part) != std::string::npos;
}

inline std::string oracle(std::string_view name) { return std::string(PLAIT_TEST_DATA) + "/oracles/" + std::string(name); }
inline bool has_oracle(std::string_view name) {
  const bool there = fs::exists(oracle(name) + "/model.safetensors");
  if (!there) MESSAGE("left out: " << oracle(name) << " is not there");
  return there;
}

}  // namespace io_tests
