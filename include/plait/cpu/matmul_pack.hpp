#pragma once
// Packing for the dense product: an operand of any float type into panels of the summing type.
#include "plait/cpu/lanes.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

/// An input matrix: element (i, p) of a, or (p, j) of b, with `p` the summed dim. `outer` strides over i or j.
struct operand {
  const void* data;
  dtype type;
  index outer, inner;
};

/// to[p * step + i] = from[i * stride + p] for four rows i and four positions p.
template <class S, class T>
inline void transpose_block(const T* from, index stride, S* to, index step) {
  typedef S four __attribute__((vector_size(4 * sizeof(S))));
  four row[4], half[4], out[4];
  for (int i = 0; i < 4; ++i) {
    S values[4];
    for (int p = 0; p < 4; ++p) values[p] = convert<S>(from[i * stride + p]);
    std::memcpy(&row[i], values, sizeof(four));
  }
  half[0] = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
  half[1] = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
  half[2] = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
  half[3] = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
  out[0] = __builtin_shufflevector(half[0], half[1], 0, 1, 4, 5);
  out[1] = __builtin_shufflevector(half[0], half[1], 2, 3, 6, 7);
  out[2] = __builtin_shufflevector(half[2], half[3], 0, 1, 4, 5);
  out[3] = __builtin_shufflevector(half[2], half[3], 2, 3, 6, 7);
  for (int p = 0; p < 4; ++p) std::memcpy(to + p * step, &out[p], sizeof(four));
}

/// Copies `count` <= P outer positions by `depth` inner ones into [depth][P], zeros beyond `count`.
template <int P, class S, class T>
void pack_panel(const T* from, index outer, index inner, index count, index depth, S* to) {
  index i = 0;
  if (outer == 1 && count == P) {
    for (index p = 0; p < depth; ++p) {
      for (int l = 0; l < P; ++l) to[p * P + l] = convert<S>(from[p * inner + l]);
    }
    return;
  }
  if (inner == 1) {
    for (; i + 4 <= count; i += 4) {
      const T* rows = from + i * outer;
      index p = 0;
      for (; p + 4 <= depth; p += 4) transpose_block(rows + p, outer, to + p * P + i, P);
      for (; p < depth; ++p) {
        for (int l = 0; l < 4; ++l) to[p * P + i + l] = convert<S>(rows[l * outer + p]);
      }
    }
  }
  const index done = i;
  for (index p = 0; p < depth; ++p) {
    for (i = done; i < count; ++i) to[p * P + i] = convert<S>(from[i * outer + p * inner]);
    for (; i < P; ++i) to[p * P + i] = S(0);
  }
}

template <int P, class S>
[[gnu::noinline]] void pack_panels(const operand& m, index start, index count, index start_depth, index depth, S* to) {
  visit_float("matmul", m.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (sizeof(T) <= sizeof(S)) {
      for (index at = 0; at < count; at += P, to += P * depth) {
        const T* from = static_cast<const T*>(m.data) + (start + at) * m.outer + start_depth * m.inner;
        pack_panel<P>(from, m.outer, m.inner, count - at < P ? count - at : P, depth, to);
      }
    }
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
