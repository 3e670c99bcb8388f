#pragma once
// Numbers in a file's type as the library's.
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "plait/io/safetensors.hpp"
#include "plait/runtime/bfloat16.hpp"
#include "plait/runtime/view.hpp"

namespace plait::inline v0_1::io {

namespace detail {

inline float float_of_half(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 31u;
  const std::uint32_t fraction = bits & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
  if (exponent == 0) {
    const float tiny = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -tiny : tiny;
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (fraction << 13));
}

/// Rounds once: first to float with the lost bits kept in the last one ("to odd"), then to bfloat16.
inline bfloat16 bfloat16_of(double value) {
  float narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value && std::isfinite(narrow)) {
    if (std::fabs(static_cast<double>(narrow)) > std::fabs(value)) narrow = std::nextafter(narrow, 0.0f);
    narrow = std::bit_cast<float>(std::bit_cast<std::uint32_t>(narrow) | 1u);
  }
  return bfloat16(narrow);
}
inline bfloat16 bfloat16_of(float value) { return bfloat16(value); }

template <class From, class Read>
inline void convert_with(const char* from, dtype to, void* out, std::size_t n, Read read) {
  const auto each = [&](auto sample, auto make) {
    using target = decltype(sample);
    char* put = static_cast<char*>(out);
    for (std::size_t i = 0; i < n; ++i) {
      From raw;
      std::memcpy(&raw, from + i * sizeof(From), sizeof(From));
      const target value = make(read(raw));
      std::memcpy(put + i * sizeof(target), &value, sizeof(target));
    }
  };
  switch (to) {
    case dtype::f32:
      return each(float{}, [](auto v) { return static_cast<float>(v); });
    case dtype::f64:
      return each(double{}, [](auto v) { return static_cast<double>(v); });
    case dtype::bf16:
      return each(bfloat16{}, [](auto v) { return bfloat16_of(v); });
    default:
      throw std::invalid_argument("convert_elements: only f32, f64 and bf16 can be made");
  }
}

}  // namespace detail

/// Whether a tensor of this element type can be loaded as numbers.
constexpr bool is_convertible(element type) {
  return type == element::f32 || type == element::f64 || type == element::bf16 || type == element::f16;
}

/// `n` elements of a file's type as the library's: F32, F64, BF16 or F16 to f32, f64 or bf16, rounded to nearest even.
inline void convert_elements(element from, const void* in, dtype to, void* out, std::size_t n) {
  const char* bytes = static_cast<const char*>(in);
  switch (from) {
    case element::f32:
      return detail::convert_with<float>(bytes, to, out, n, [](float v) { return v; });
    case element::f64:
      return detail::convert_with<double>(bytes, to, out, n, [](double v) { return v; });
    case element::bf16:
      return detail::convert_with<std::uint16_t>(
          bytes, to, out, n, [](std::uint16_t v) { return std::bit_cast<float>(static_cast<std::uint32_t>(v) << 16); });
    case element::f16:
      return detail::convert_with<std::uint16_t>(bytes, to, out, n, [](std::uint16_t v) { return detail::float_of_half(v); });
    default:
      throw std::invalid_argument("convert_elements: only F32, F64, BF16 and F16 can be read");
  }
}

}  // namespace plait::inline v0_1::io
