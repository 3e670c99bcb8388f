#pragma once
// The sanitizers' test presets set PLAIT_TEST_SCALE=small: every path once is what they need; the cpu stage tests all cases.
#include <cstdlib>
#include <string_view>

namespace plait {
inline bool small_tests() {
  const char* set = std::getenv("PLAIT_TEST_SCALE");
  return set != nullptr && std::string_view(set) == "small";
}
}  // namespace plait
