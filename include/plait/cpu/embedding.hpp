#pragma once
// Token embedding, possibly with a slice of the vocabulary.
#include "plait/cpu/elementwise.hpp"

namespace plait::inline v0_1 {
namespace cpu_detail {

inline void raise(const execution& ex, fault kind, index where) {
  if (ex.faults) ex.faults->raise(kind, where);
}

inline void embedding(const execution& ex, view ids, view table, std::int64_t first, std::int64_t vocabulary, view out) {
  const index tokens = ids.size(), width = table.columns(), held = table.rows();
  const std::int64_t* id = ids.as<const std::int64_t>();
  for (index t = 0; t < tokens; ++t) {
    if (id[t] < 0 || id[t] >= vocabulary) raise(ex, fault::id_out_of_range, t);
    char* to = element_at(out, t * width);
    // Compared in this order so that no subtraction can overflow on a wild id.
    if (id[t] >= first && id[t] < vocabulary && id[t] - first < held) {
      convert_elements(element_at(table, (id[t] - first) * width), table.type, to, out.type, width);
    } else if (width > 0) {
      std::memset(to, 0, static_cast<std::size_t>(width) * size_of(out.type));
    }
  }
}

inline void embedding_gradient(const execution&, view ids, view dy, std::int64_t first, view dtable) {
  const index tokens = ids.size(), width = dtable.columns(), held = dtable.rows();
  const std::int64_t* id = ids.as<const std::int64_t>();
  for (index t = 0; t < tokens; ++t) {
    if (id[t] < first || id[t] < 0 || id[t] - first >= held) continue;
    add_elements(element_at(dy, t * width), dy.type, element_at(dtable, (id[t] - first) * width), dtable.type, width);
  }
}

}  // namespace cpu_detail
}  // namespace plait::inline v0_1
