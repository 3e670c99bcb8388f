#pragma once
// Moving token rows to their experts' slots and back.
#include "plait/cpu/elementwise.hpp"
#include "plait/cpu/lanes.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

inline void dispatch_plan(const execution&, view ids, std::int64_t first, std::int64_t local, view offsets, view pair_of_slot,
                          view slot_of_pair) {
  const index pairs = ids.size();
  const std::int32_t* id = ids.as<const std::int32_t>();
  std::int32_t* next = scratch<std::int32_t>(slot::columns, local + 1);
  for (index e = 0; e <= local; ++e) next[e] = 0;
  const auto held = [&](index p) { return id[p] >= first && id[p] - first < local; };
  for (index p = 0; p < pairs; ++p) {
    if (held(p)) ++next[id[p] - first + 1];
  }
  for (index e = 0; e < local; ++e) next[e + 1] += next[e];
  if (offsets) convert_row(next, offsets.as<std::int32_t>(), local + 1);
  const index kept = next[local];
  for (index p = 0; p < pairs; ++p) {
    const std::int32_t s = held(p) ? next[id[p] - first]++ : -1;
    if (s >= 0 && pair_of_slot) pair_of_slot.as<std::int32_t>()[s] = static_cast<std::int32_t>(p);
    if (slot_of_pair) slot_of_pair.as<std::int32_t>()[p] = s;
  }
  for (index s = kept; s < pairs && pair_of_slot; ++s) pair_of_slot.as<std::int32_t>()[s] = -1;
}

inline void exchange_plan(const execution&, view received, view offsets, view row_of_slot, view slot_of_row) {
  const index ranks = received.rows(), local = received.columns() - 1, rows = row_of_slot.size();
  const auto begin = [&](index m, index e) { return index(received.as<const std::int32_t>()[m * (local + 1) + e]); };
  index slot = 0;
  for (index e = 0; e < local; ++e) {
    offsets.as<std::int32_t>()[e] = static_cast<std::int32_t>(slot);
    index arrived = 0;  // rows of the ranks before m
    for (index m = 0; m < ranks; ++m) {
      const index first = arrived + begin(m, e) - begin(m, 0), count = begin(m, e + 1) - begin(m, e);
      arrived += begin(m, local) - begin(m, 0);
      for (index row = first; row < first + count && slot < rows; ++row, ++slot) {
        row_of_slot.as<std::int32_t>()[slot] = static_cast<std::int32_t>(row);
        slot_of_row.as<std::int32_t>()[row] = static_cast<std::int32_t>(slot);
      }
    }
  }
  offsets.as<std::int32_t>()[local] = static_cast<std::int32_t>(slot);
}

inline void gather_rows(const execution&, view x, std::int64_t k, view pair_of_slot, view offsets, view rows) {
  const index width = x.columns(), tokens = x.rows(), slots = pair_of_slot.size();
  const index last = offsets.as<const std::int32_t>()[offsets.size() - 1], kept = last < slots ? last : slots;
  const std::size_t bytes = static_cast<std::size_t>(width) * size_of(x.type);
  for (index s = 0; s < kept && bytes > 0; ++s) {
    const index pair = pair_of_slot.as<const std::int32_t>()[s];
    if (pair < 0 || pair >= tokens * k) continue;
    std::memcpy(element_at(rows, s * width), element_at(x, pair / k * width), bytes);
  }
}

/// out[t,:] = sum_j weight(t * k + j) * rows[slot_of_pair[t * k + j],:], absent pairs skipped.
template <class T, class Weight>
void sum_slots(const view& rows, index k, const view& slot_of_pair, const view& out, const Weight& weight) {
  using S = statistic<T>;
  const index tokens = out.rows(), width = out.columns(), slots = rows.rows();
  S* total = scratch<S>(slot::row1, width);
  for (index t = 0; t < tokens; ++t) {
    for (index c = 0; c < width; ++c) total[c] = 0;
    for (index j = 0; j < k; ++j) {
      const index s = slot_of_pair.as<const std::int32_t>()[t * k + j];
      if (s < 0 || s >= slots) continue;
      const S w = weight(t * k + j);
      const T* from = rows.as<const T>() + s * width;
      for (index c = 0; c < width; ++c) total[c] += w * convert<S>(from[c]);
    }
    convert_row(total, out.as<T>() + t * width, width);
  }
}

inline void gather_rows_gradient(const execution&, view drows, std::int64_t k, view slot_of_pair, view dx) {
  visit_float("gather_rows_gradient", dx.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    sum_slots<T>(drows, k, slot_of_pair, dx, [](index) { return statistic<T>(1); });
  });
}

inline void combine(const execution&, view rows, view scores, view slot_of_pair, view y) {
  visit_float("combine", y.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    sum_slots<T>(rows, scores.columns(), slot_of_pair, y, [&](index pair) { return number_at<statistic<T>>(scores, pair); });
  });
}

inline void combine_gradient(const execution&, view dy, view rows, view scores, view slot_of_pair, view drows, view dscores) {
  visit_float("combine_gradient", dy.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = statistic<T>;
    const index pairs = scores.size(), k = scores.columns(), width = dy.columns(), slots = rows.rows();
    for (index p = 0; p < pairs; ++p) {
      const index s = slot_of_pair.as<const std::int32_t>()[p];
      if (s < 0 || s >= slots) {
        if (dscores) set_number(dscores, p, S(0));
        continue;
      }
      const S* g = row_as<S>(dy.as<const T>() + p / k * width, width, slot::row1);
      if (dscores) {
        const S* r = row_as<S>(rows.as<const T>() + s * width, width, slot::row2);
        set_number(dscores, p, dot(g, r, width));
      }
      if (drows) {
        const S w = number_at<S>(scores, p);
        T* to = drows.as<T>() + s * width;
        for (index c = 0; c < width; ++c) to[c] = convert<T>(w * g[c]);
      }
    }
  });
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
