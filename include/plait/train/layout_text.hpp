#pragma once
// Layouts as text, for explain and for checkpoints' manifests.
#include <string>
#include <vector>

#include "plait/tensor/layout_value.hpp"

namespace plait::inline v0_1 {
namespace detail {

inline std::string axes_text(std::uint32_t mask, const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t a = 0; a < static_cast<std::size_t>(max_atoms); ++a)
    if (mask >> a & 1u) text += (text.empty() ? "" : ", ") + (a < names.size() ? names[a] : "axis " + std::to_string(a));
  return text;
}

inline std::string placement_text(placement_value p) {
  std::string text = name_of(p.kind);
  if (p.cuts()) text += "<" + std::to_string(p.dim) + (p.kind == placement_kind::strided_shard ? ", " + std::to_string(p.sections) : "") + ">";
  return text;
}

}  // namespace detail

/// "tp: Shard<0>; fsdp_outer, fsdp_inner: Shard<0>": cuts by dim, outermost first; axes not named are Replicate. With `compute`,
/// `layout` is the storage layout that belongs to it, and what FSDP adds is named apart.
inline std::string text_of(const layout_value& layout, const std::vector<std::string>& axis_names, const layout_value* compute = nullptr) {
  const detail::layout_code code = detail::encode(layout);
  const detail::entry_list entries = detail::entries_of(code.places, code.order, layout.atoms);
  const auto joins = [&](int a, int b) {
    const auto added = [&](int atom) { return compute != nullptr && !(compute->at[atom] == layout.at[atom]); };
    return layout.at[a] == layout.at[b] && added(a) == added(b);
  };
  std::string text;
  for (int i = 0; i < entries.count; ++i) {
    const int first = entries.atom[i];
    std::string axes = detail::axes_text(1u << first, axis_names);
    while (i + 1 < entries.count && joins(first, entries.atom[i + 1])) axes += ", " + detail::axes_text(1u << entries.atom[++i], axis_names);
    text += (text.empty() ? "" : "; ") + axes + ": " + detail::placement_text(layout.at[first]);
  }
  return text.empty() ? "Replicate" : text;
}

}  // namespace plait::inline v0_1
