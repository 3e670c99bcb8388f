#pragma once
// Products grouped by expert: each expert's weight against its own run of rows.
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

inline void grouped_matmul(const execution& ex, view x, view weight, view offsets, view y) {
  const index out = weight.extent[1], in = weight.extent[2];
  for_experts(ex, offsets, x.rows(), row_work(weight), [&](index e, index start, index rows, int threads) {
    product(rows, out, in, {row_of(x, start), x.type, in, 1}, {row_of(weight, e * out), weight.type, in, 1},
            target{y.data, y.type, out}.moved(start, 0), false, threads);
  });
}

inline void grouped_input_gradient(const execution& ex, view dy, view weight, view offsets, view dx) {
  const index out = weight.extent[1], in = weight.extent[2];
  for_experts(ex, offsets, dy.rows(), row_work(weight), [&](index e, index start, index rows, int threads) {
    product(rows, in, out, {row_of(dy, start), dy.type, out, 1}, {row_of(weight, e * out), weight.type, 1, in},
            target{dx.data, dx.type, in}.moved(start, 0), false, threads);
  });
}

inline void grouped_weight_gradient(const execution& ex, view x, view dy, view offsets, view dweight, bool accumulate) {
  const index out = dweight.extent[1], in = dweight.extent[2];
  for_experts(ex, offsets, x.rows(), row_work(dweight), [&](index e, index start, index rows, int threads) {
    if (rows == 0) {
      if (!accumulate) std::memset(const_cast<char*>(row_of(dweight, e * out)), 0, static_cast<std::size_t>(out * in) * size_of(dweight.type));
      return;
    }
    product(out, in, rows, {row_of(dy, start), dy.type, 1, out}, {row_of(x, start), x.type, 1, in},
            target{dweight.data, dweight.type, in}.moved(e * out, 0), accumulate, threads);
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
