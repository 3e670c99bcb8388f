#pragma once
// 128-bit digests (XXH3-128) that detect damaged files. They are no protection against someone who wants to deceive.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace plait::inline v0_1::io {

struct digest {
  std::uint64_t high = 0, low = 0;
  friend bool operator==(const digest&, const digest&) = default;

  static constexpr std::size_t digits = 32;
  /// 32 hexadecimal digits.
  std::string text() const {
    constexpr char hex[] = "0123456789abcdef";
    std::string out;
    for (const std::uint64_t half : {high, low})
      for (int shift = 60; shift >= 0; shift -= 4) out += hex[(half >> shift) & 15u];
    return out;
  }
  /// Empty where `text` is not 32 lower-case hexadecimal digits.
  static std::optional<digest> of_text(std::string_view text) {
    if (text.size() != digits) return std::nullopt;
    digest d;
    for (std::size_t i = 0; i < digits; ++i) {
      const char c = text[i];
      const bool figure = c >= '0' && c <= '9';
      if (!figure && !(c >= 'a' && c <= 'f')) return std::nullopt;
      std::uint64_t& half = i < digits / 2 ? d.high : d.low;
      half = half << 4 | static_cast<std::uint64_t>(figure ? c - '0' : c - 'a' + 10);
    }
    return d;
  }
};

/// Digest of `count` bytes. Defined in implementation.hpp.
template <class = void>
digest digest_of(const void* data, std::size_t count);

inline digest digest_of_text(std::string_view text) { return digest_of(text.data(), text.size()); }

}  // namespace plait::inline v0_1::io
