#pragma once
// Element-by-element ops, reductions over arrays, and bias.
#include "plait/cpu/workspace.hpp"
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

/// to[i] = from[i] between any two float types, and from integers to anything.
[[gnu::noinline]] inline void convert_elements(const void* from, dtype from_type, void* to, dtype to_type, index n) {
  visit_any(from_type, [&](auto from_tag) {
    using From = typename decltype(from_tag)::type;
    visit_any(to_type, [&](auto to_tag) {
      using To = typename decltype(to_tag)::type;
      if constexpr (std::is_integral_v<From> || !std::is_integral_v<To>) {
        convert_row(static_cast<const From*>(from), static_cast<To*>(to), n);
      } else {
        unsupported("a cast from a float type", to_type);
      }
    });
  });
}

/// to[i] += from[i] between any two float types, added in the wider one's statistic type.
[[gnu::noinline]] inline void add_elements(const void* from, dtype from_type, void* to, dtype to_type, index n) {
  visit_float("accumulate", from_type, [&](auto from_tag) {
    using From = typename decltype(from_tag)::type;
    visit_float("accumulate", to_type, [&](auto to_tag) {
      using To = typename decltype(to_tag)::type;
      using S = std::conditional_t<sizeof(From) == 8, double, statistic<To>>;
      const From* a = static_cast<const From*>(from);
      To* b = static_cast<To*>(to);
      for (index i = 0; i < n; ++i) b[i] = convert<To>(convert<S>(b[i]) + convert<S>(a[i]));
    });
  });
}

inline char* element_at(const view& v, index i) { return static_cast<char*>(v.data) + i * static_cast<index>(size_of(v.type)); }

inline void cast(const execution&, view from, view to) { convert_elements(from.data, from.type, to.data, to.type, from.size()); }

/// out[i] = f(x[i], y[i]), computed in the statistic type; any of them may be the same.
template <class F>
void map_elements(const char* what, view x, view y, view out, F f) {
  visit_float(what, out.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const T* a = x.as<const T>();
    const T* b = y.as<const T>();
    T* to = out.as<T>();
    const index n = out.size();
    for (index i = 0; i < n; ++i) to[i] = convert<T>(f(convert<S>(a[i]), convert<S>(b[i])));
  });
}

inline void add(const execution&, view a, view b, view out) {
  map_elements("add", a, b, out, [](auto x, auto y) { return x + y; });
}

inline void accumulate(const execution&, view from, view to) { add_elements(from.data, from.type, to.data, to.type, to.size()); }

inline void scale(const execution&, view x, double factor) {
  map_elements("scale", x, x, x, [factor](auto a, auto) { return a * static_cast<decltype(a)>(factor); });
}

inline void clamp(const execution&, view x, double limit, view out) {
  map_elements("clamp", x, x, out, [limit](auto a, auto) {
    const auto most = static_cast<decltype(a)>(limit);
    return a > most ? most : a < -most ? -most : a;
  });
}

inline void clamp_gradient(const execution&, view x, view dy, double limit, view dx) {
  map_elements("clamp_gradient", x, dy, dx, [limit](auto a, auto d) {
    const auto most = static_cast<decltype(a)>(limit);
    return a > most || a < -most ? decltype(a)(0) : d;
  });
}

/// Integers add modulo 2^n, as on every other backend, instead of overflowing.
template <class S>
S plus(S a, S b) {
  if constexpr (std::is_integral_v<S>) {
    using U = std::make_unsigned_t<S>;
    return static_cast<S>(static_cast<U>(static_cast<U>(a) + static_cast<U>(b)));
  } else {
    return a + b;
  }
}

inline void reduce(const execution&, const void* const* from, int count, view out, bool maximum) {
  visit_any(out.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = std::conditional_t<std::is_same_v<T, bfloat16>, float, T>;
    constexpr index chunk = 1024;  // all inputs of a chunk are read before it is written: out may be one of them
    S acc[chunk];
    const index n = out.size();
    for (index at = 0; at < n; at += chunk) {
      const index m = n - at < chunk ? n - at : chunk;
      for (index i = 0; i < m; ++i) acc[i] = S(0);
      for (int a = 0; a < count; ++a) {
        const T* x = static_cast<const T*>(from[a]) + at;
        if (a == 0) {
          for (index i = 0; i < m; ++i) acc[i] = convert<S>(x[i]);
        } else if (maximum) {
          for (index i = 0; i < m; ++i) {
            const S v = convert<S>(x[i]);
            acc[i] = v > acc[i] || v != v ? v : acc[i];  // a NaN wins, and stays
          }
        } else {
          for (index i = 0; i < m; ++i) acc[i] = plus<S>(acc[i], convert<S>(x[i]));
        }
      }
      convert_row(acc, out.as<T>() + at, m);
    }
  });
}

inline void bias_add(const execution&, view x, view bias, view out) {
  visit_float("bias_add", out.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index rows = out.rows(), columns = out.columns();
    if (columns == 0) return;
    S* b = scratch<S>(slot::columns, columns);
    for (index c = 0; c < columns; ++c) b[c] = number_at<S>(bias, c);
    for (index r = 0; r < rows; ++r) {
      const T* from = x.as<const T>() + r * columns;
      T* to = out.as<T>() + r * columns;
      for (index c = 0; c < columns; ++c) to[c] = convert<T>(convert<S>(from[c]) + b[c]);
    }
  });
}

/// Adds column sums, kept in double, to a gradient view of any float type.
inline void add_columns(const double* sums, const view& to, index columns) {
  add_elements(sums, dtype::f64, to.data, to.type, columns);
}

inline void bias_gradient(const execution&, view dy, view dbias) {
  visit_float("bias_gradient", dy.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const index rows = dy.rows(), columns = dy.columns();
    double* sums = scratch<double>(slot::columns, columns);
    for (index c = 0; c < columns; ++c) sums[c] = 0;
    for (index r = 0; r < rows; ++r) {
      const T* from = dy.as<const T>() + r * columns;
      for (index c = 0; c < columns; ++c) sums[c] += convert<double>(from[c]);
    }
    add_columns(sums, dbias, columns);
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
