#pragma once
// Products grouped by expert: each expert's weight against its own run of rows.
#include "plait/cpu/elementwise.hpp"
#include "plait/cpu/matmul.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

/// Calls body(expert, first row, rows, threads) for every expert; offsets are held within [0, capacity] whatever they say.
template <class F>
void for_experts(const execution& ex, const view& offsets, index capacity, double work_per_row, const F& body) {
  const index local = offsets.size() - 1;
  const std::int32_t* at = offsets.as<const std::int32_t>();
  if (local <= 0) return;
  const auto inside = [&](index row) { return row < 0 ? 0 : row > capacity ? capacity : row; };
  const double work = work_per_row * static_cast<double>(inside(at[local]) - inside(at[0]));
  const bool spread = ex.threads > 1 && work >= parallel_threshold && local >= ex.threads;
  parallel_for(local, spread ? ex.threads : 1, [&](index e) {
    const index start = inside(at[e]), end = inside(at[e + 1]);
    body(e, start, end > start ? end - start : index(0), spread ? 1 : ex.threads);
  });
}

inline double row_work(const view& weight) {
  return 2.0 * static_cast<double>(weight.extent[1]) * static_cast<double>(weight.extent[2]);
}

inline const char* row_of(const view& v, index row) {
  return static_cast<const char*>(v.data) + row * v.columns() * static_cast<index>(size_of(v.type));
}

inline void grouped_matmul(const execution& ex, view x, view weight, bool transposed, view offsets, view y) {
  const index out = weight.extent[transposed ? 2 : 1], in = weight.extent[transposed ? 1 : 2];
  for_experts(ex, offsets, x.rows(), row_work(weight), [&](index e, index start, index rows, int threads) {
    product(rows, out, in, {row_of(x, start), x.type, in, 1},
            {row_of(weight, e * weight.extent[1]), weight.type, transposed ? 1 : in, transposed ? out : 1},
            target{y.data, y.type, out}.moved(start, 0), false, threads);
  });
}

inline void grouped_input_gradient(const execution& ex, view dy, view weight, bool transposed, view offsets, view dx) {
  const index out = weight.extent[transposed ? 2 : 1], in = weight.extent[transposed ? 1 : 2];
  for_experts(ex, offsets, dy.rows(), row_work(weight), [&](index e, index start, index rows, int threads) {
    product(rows, in, out, {row_of(dy, start), dy.type, out, 1},
            {row_of(weight, e * weight.extent[1]), weight.type, transposed ? out : 1, transposed ? 1 : in},
            target{dx.data, dx.type, in}.moved(start, 0), false, threads);
  });
}

inline void grouped_weight_gradient(const execution& ex, view x, view dy, bool transposed, view offsets, view dweight, bool accumulate) {
  const view& a = transposed ? x : dy;  // dweight[e] = or += a^T b
  const view& b = transposed ? dy : x;
  const index high = dweight.extent[1], wide = dweight.extent[2];
  for_experts(ex, offsets, x.rows(), row_work(dweight), [&](index e, index start, index rows, int threads) {
    if (rows == 0) {
      if (!accumulate) std::memset(const_cast<char*>(row_of(dweight, e * high)), 0, static_cast<std::size_t>(high * wide) * size_of(dweight.type));
      return;
    }
    product(high, wide, rows, {row_of(a, start), a.type, 1, high}, {row_of(b, start), b.type, 1, wide},
            target{dweight.data, dweight.type, wide}.moved(e * high, 0), accumulate, threads);
  });
}

inline void expert_bias(const execution& ex, view x, view bias, view offsets, view y) {
  visit_float("expert_bias", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index n = x.columns();
    for_experts(ex, offsets, x.rows(), static_cast<double>(n), [&](index e, index start, index rows, int) {
      const T* b = bias.as<const T>() + e * n;
      for (index r = start; r < start + rows; ++r)
        for (index c = 0; c < n; ++c)
          y.as<T>()[r * n + c] = convert<T>(convert<S>(x.as<const T>()[r * n + c]) + convert<S>(b[c]));
    });
  });
}

inline void expert_bias_gradient(const execution&, view dy, view offsets, view dbias) {
  visit_float("expert_bias_gradient", dy.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const index n = dy.columns();
    double* sums = scratch<double>(slot::columns, n);
    execution one;
    for_experts(one, offsets, dy.rows(), 0, [&](index e, index start, index rows, int) {
      for (index c = 0; c < n; ++c) sums[c] = 0;
      for (index r = start; r < start + rows; ++r)
        for (index c = 0; c < n; ++c) sums[c] += static_cast<double>(convert<statistic<T>>(dy.as<const T>()[r * n + c]));
      view row = dbias;
      row.rank = 1;
      row.extent[0] = n;
      row.data = static_cast<char*>(dbias.data) + static_cast<std::size_t>(e) * row.bytes();
      add_columns(sums, row, n);
    });
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
