#pragma once
// Element types of the safetensors format, and which of them the library has.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "plait/runtime/view.hpp"

namespace plait::inline v0_1::io {

/// The element types of the format, in the order in which writers sort tensors (the last ones come first in a file).
enum class element : std::uint8_t {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64
};

struct element_facts {
  const char* name;
  unsigned bits;
};

inline constexpr element_facts element_table[] = {
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}};

constexpr const char* name_of(element type) { return element_table[static_cast<std::size_t>(type)].name; }
constexpr unsigned bits_of(element type) { return element_table[static_cast<std::size_t>(type)].bits; }

inline std::optional<element> element_named(std::string_view name) {
  for (std::size_t i = 0; i < std::size(element_table); ++i)
    if (name == element_table[i].name) return static_cast<element>(i);
  return std::nullopt;
}

/// The library's type for an element type, where it has one.
constexpr std::optional<dtype> dtype_of(element type) {
  switch (type) {
    case element::f32:
      return dtype::f32;
    case element::f64:
      return dtype::f64;
    case element::bf16:
      return dtype::bf16;
    case element::i32:
      return dtype::i32;
    case element::i64:
      return dtype::i64;
    case element::u8:
      return dtype::u8;
    default:
      return std::nullopt;
  }
}
constexpr element element_of(dtype type) {
  switch (type) {
    case dtype::f32:
      return element::f32;
    case dtype::f64:
      return element::f64;
    case dtype::bf16:
      return element::bf16;
    case dtype::i32:
      return element::i32;
    case dtype::i64:
      return element::i64;
    case dtype::u8:
      return element::u8;
  }
  return element::u8;
}

}  // namespace plait::inline v0_1::io
