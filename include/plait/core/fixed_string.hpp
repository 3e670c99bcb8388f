#pragma once
// A string as a template argument. Host side only: no kernel's template argument may hold one.
#include <cstddef>
#include <string_view>

namespace plait::inline v0_1 {

template <std::size_t Length>
struct fixed_string {
  char text[Length]{};
  constexpr fixed_string(const char (&literal)[Length]) {
    for (std::size_t i = 0; i < Length; ++i) text[i] = literal[i];
  }
  constexpr std::string_view view() const { return {text, Length - 1}; }
};

}  // namespace plait::inline v0_1
