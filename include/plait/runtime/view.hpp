#pragma once
// Plain views: what every backend function takes. No layout, plan or model type gets past this line.
#include <cstddef>
#include <cstdint>

namespace plait::inline v0_1 {

enum class dtype : std::uint8_t { f32, f64, bf16, i32, i64, u8 };

constexpr std::size_t size_of(dtype type) {
  switch (type) {
    case dtype::f64:
    case dtype::i64: return 8;
    case dtype::f32:
    case dtype::i32: return 4;
    case dtype::bf16: return 2;
    case dtype::u8: return 1;
  }
  return 0;
}

constexpr const char* name_of(dtype type) {
  switch (type) {
    case dtype::f32: return "f32";
    case dtype::f64: return "f64";
    case dtype::bf16: return "bf16";
    case dtype::i32: return "i32";
    case dtype::i64: return "i64";
    case dtype::u8: return "u8";
  }
  return "?";
}

/// The type in which row statistics, softmax sums and reductions of `type` are kept.
constexpr dtype statistic_of(dtype type) { return type == dtype::f64 ? dtype::f64 : dtype::f32; }

inline constexpr int max_rank = 5;

/// A contiguous row-major block of memory. Empty (some extent 0) is legal everywhere.
struct view {
  void* data = nullptr;
  dtype type = dtype::f32;
  int rank = 0;
  std::int64_t extent[max_rank] = {};

  constexpr std::int64_t size() const {
    std::int64_t n = 1;
    for (int d = 0; d < rank; ++d) n *= extent[d];
    return n;
  }
  /// The last extent, and the product of the others: how matrix-like ops see a tensor.
  constexpr std::int64_t columns() const { return rank == 0 ? 1 : extent[rank - 1]; }
  constexpr std::int64_t rows() const {
    std::int64_t n = 1;
    for (int d = 0; d + 1 < rank; ++d) n *= extent[d];
    return n;
  }
  constexpr std::size_t bytes() const { return static_cast<std::size_t>(size()) * size_of(type); }
  explicit constexpr operator bool() const { return data != nullptr; }

  template <class T>
  T* as() const { return static_cast<T*>(data); }
};

}  // namespace plait::inline v0_1
