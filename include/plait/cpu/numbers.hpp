#pragma once
// Element types of the CPU backend: picking a template instance from a view's dtype, and converting between types.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "plait/runtime/bfloat16.hpp"
#include "plait/runtime/view.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

using index = std::int64_t;

template <class T>
struct type_tag {
  using type = T;
};

/// The type sums over elements of T are kept in.
template <class T>
using statistic = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// A dtype the typed ops never pass down: a bug in the caller, not in the data, so there is nothing to return.
[[noreturn]] inline void unsupported(const char* what, dtype type) {
  std::fprintf(stderr, "plait cpu backend: %s does not take %s\n", what, name_of(type));
  std::abort();
}

template <class F>
void visit_float(const char* what, dtype type, F&& body) {
  switch (type) {
    case dtype::f32:
      return body(type_tag<float>{});
    case dtype::f64:
      return body(type_tag<double>{});
    case dtype::bf16:
      return body(type_tag<bfloat16>{});
    default:
      unsupported(what, type);
  }
}

template <class F>
void visit_any(dtype type, F&& body) {
  switch (type) {
    case dtype::f32:
      return body(type_tag<float>{});
    case dtype::f64:
      return body(type_tag<double>{});
    case dtype::bf16:
      return body(type_tag<bfloat16>{});
    case dtype::i32:
      return body(type_tag<std::int32_t>{});
    case dtype::i64:
      return body(type_tag<std::int64_t>{});
    case dtype::u8:
      return body(type_tag<std::uint8_t>{});
  }
}

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<To, bfloat16>) {
    return bfloat16(static_cast<float>(value));
  } else if constexpr (std::is_same_v<From, bfloat16>) {
    return static_cast<To>(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

/// Kept out of line, like the other row primitives: inlined into every op they would only cost compile time.
template <class To, class From>
[[gnu::noinline]] void convert_row(const From* from, To* to, index n) {
  if constexpr (std::is_same_v<To, From>) {
    if (n > 0 && from != to) std::memmove(to, from, static_cast<std::size_t>(n) * sizeof(To));
  } else {
    for (index i = 0; i < n; ++i) to[i] = convert<To>(from[i]);
  }
}

/// Element `i` of a float view, whatever its type: for values read once a row.
template <class S>
[[gnu::noinline]] S number_at(const view& v, index i) {
  switch (v.type) {
    case dtype::f32:
      return convert<S>(v.as<const float>()[i]);
    case dtype::f64:
      return convert<S>(v.as<const double>()[i]);
    case dtype::bf16:
      return convert<S>(v.as<const bfloat16>()[i]);
    default:
      unsupported("number_at", v.type);
  }
}

template <class S>
[[gnu::noinline]] void set_number(const view& v, index i, S value) {
  switch (v.type) {
    case dtype::f32:
      v.as<float>()[i] = convert<float>(value);
      return;
    case dtype::f64:
      v.as<double>()[i] = convert<double>(value);
      return;
    case dtype::bf16:
      v.as<bfloat16>()[i] = convert<bfloat16>(value);
      return;
    case dtype::i32:
      v.as<std::int32_t>()[i] = convert<std::int32_t>(value);
      return;
    case dtype::i64:
      v.as<std::int64_t>()[i] = convert<std::int64_t>(value);
      return;
    case dtype::u8:
      v.as<std::uint8_t>()[i] = convert<std::uint8_t>(value);
      return;
  }
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
