#pragma once
// Small owned tensors, reference helpers and the finite-difference check shared by the CPU backend's tests.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "plait/runtime/backend.hpp"
#include "plait/runtime/bfloat16.hpp"

namespace cpu_test {

using namespace plait;
using i64 = std::int64_t;

extern const backend& cpu;  // table.cpp: the one file here that compiles the whole backend
inline const execution plain{};

/// An owned array of any dtype, read and written as doubles.
struct tensor {
  dtype type = dtype::f32;
  std::vector<i64> extent;
  std::vector<double> storage;  // raw bytes, aligned for every element type

  tensor() = default;
  tensor(dtype t, std::vector<i64> e) : type(t), extent(std::move(e)), storage(static_cast<std::size_t>(size()) + 1) {}

  i64 size() const {
    i64 n = 1;
    for (i64 e : extent) n *= e;
    return n;
  }
  view v() {
    view out{storage.data(), type, static_cast<int>(extent.size()), {}};
    for (std::size_t d = 0; d < extent.size(); ++d) out.extent[d] = extent[d];
    return out;
  }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(storage.data());
  }
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(storage.data());
  }

  // Out of line: inlined into the nested loops of a reference, the switch makes g++ -O3 take minutes over one file.
  [[gnu::noinline]] double operator[](i64 i) const {
    switch (type) {
      case dtype::f32:
        return static_cast<double>(as<float>()[i]);
      case dtype::f64:
        return as<double>()[i];
      case dtype::bf16:
        return static_cast<double>(static_cast<float>(as<bfloat16>()[i]));
      case dtype::i32:
        return as<std::int32_t>()[i];
      case dtype::i64:
        return static_cast<double>(as<std::int64_t>()[i]);
      case dtype::u8:
        return as<std::uint8_t>()[i];
    }
    return 0;
  }
  [[gnu::noinline]] void set(i64 i, double value) {
    switch (type) {
      case dtype::f32:
        as<float>()[i] = static_cast<float>(value);
        break;
      case dtype::f64:
        as<double>()[i] = value;
        break;
      case dtype::bf16:
        as<bfloat16>()[i] = bfloat16(static_cast<float>(value));
        break;
      case dtype::i32:
        as<std::int32_t>()[i] = static_cast<std::int32_t>(value);
        break;
      case dtype::i64:
        as<std::int64_t>()[i] = static_cast<std::int64_t>(value);
        break;
      case dtype::u8:
        as<std::uint8_t>()[i] = static_cast<std::uint8_t>(value);
        break;
    }
  }
  void fill(double value) {
    for (i64 i = 0; i < size(); ++i) set(i, value);
  }
};

inline std::mt19937& generator() {
  static std::mt19937 g(12345);
  return g;
}

inline double uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(generator()); }

inline tensor random(dtype type, std::vector<i64> extent, double low = -1, double high = 1) {
  tensor t(type, std::move(extent));
  for (i64 i = 0; i < t.size(); ++i) t.set(i, uniform(low, high));
  return t;
}

inline tensor zeros(dtype type, std::vector<i64> extent) { return tensor(type, std::move(extent)); }

template <class T>
tensor of(dtype type, std::vector<i64> extent, const std::vector<T>& values) {
  tensor t(type, std::move(extent));
  for (i64 i = 0; i < t.size(); ++i) t.set(i, static_cast<double>(values[static_cast<std::size_t>(i)]));
  return t;
}

inline tensor converted(const tensor& from, dtype type) {
  tensor t(type, from.extent);
  for (i64 i = 0; i < t.size(); ++i) t.set(i, from[i]);
  return t;
}

/// Error allowed against a double reference, relative to max(1, |reference|), after short sums.
inline double tolerance(dtype type) { return type == dtype::f64 ? 1e-13 : type == dtype::f32 ? 2e-6 : 1.0 / 160; }

inline void check_close(const tensor& got, const std::vector<double>& want, double allowed) {
  REQUIRE(got.size() == static_cast<i64>(want.size()));
  i64 bad = -1;
  for (i64 i = 0; i < got.size(); ++i) {
    const double w = want[static_cast<std::size_t>(i)];
    if (std::isinf(w) ? got[i] == w : std::abs(got[i] - w) <= allowed * std::max(1.0, std::abs(w))) continue;
    bad = i;
    break;
  }
  if (bad < 0) {
    CHECK(bad < 0);
    return;
  }
  CAPTURE(bad);
  CHECK(got[bad] == doctest::Approx(want[static_cast<std::size_t>(bad)]).epsilon(allowed));
  CHECK_MESSAGE(bad < 0, "outside the tolerance");
}

inline void check_close(const tensor& got, const tensor& want, double allowed) {
  std::vector<double> w;
  for (i64 i = 0; i < want.size(); ++i) w.push_back(want[i]);
  check_close(got, w, allowed);
}

inline bool same_bytes(const tensor& a, const tensor& b) {
  return a.size() == b.size() &&
         std::memcmp(a.storage.data(), b.storage.data(), static_cast<std::size_t>(a.size()) * size_of(a.type)) == 0;
}

inline double weighted_sum(const tensor& values, const tensor& weights) {
  double total = 0;
  for (i64 i = 0; i < values.size(); ++i) total += values[i] * weights[i];
  return total;
}

/// Compares `analytic` with central differences of loss() in every element of the f64 tensor x.
template <class Loss>
void check_gradient(tensor& x, const tensor& analytic, const Loss& loss, double allowed = 1e-6) {
  REQUIRE(x.type == dtype::f64);
  std::vector<double> numeric;
  for (i64 i = 0; i < x.size(); ++i) {
    const double old = x[i], h = 1e-5;
    x.set(i, old + h);
    const double up = loss();
    x.set(i, old - h);
    const double down = loss();
    x.set(i, old);
    numeric.push_back((up - down) / (2 * h));
  }
  check_close(analytic, numeric, allowed);
}

inline const std::initializer_list<dtype> float_types = {dtype::f32, dtype::f64, dtype::bf16};

}  // namespace cpu_test
