#pragma once
// Fills a parameter store from a plan table and a model's numbers: names, global extents, layouts, units.
#include <string>
#include <vector>

#include "plait/train/plan_table.hpp"

namespace plait::inline v0_1 {

/// A model's numbers: extents by symbol, and the kind of each layer.
struct model_numbers {
  std::vector<std::int64_t> symbols;
  std::vector<bool> sparse_layer;
  bool tied = false;
  std::int64_t top_k = 0;  // experts that a token chooses,
  std::vector<std::int64_t> layer_top_k{};  // by layer where layers differ

  std::int64_t chosen(int layer) const { return layer_top_k.empty() ? top_k : layer_top_k[static_cast<std::size_t>(layer)]; }
  /// Whether a model of these numbers has that row.
  bool has(const parameter& row) const { return row.condition == -1 || (extent(row.condition) == 0) == row.where_zero; }
  std::int64_t extent(int e) const { return is_symbol(e) ? symbols[static_cast<std::size_t>(symbol_index(e))] : e; }
};

namespace detail {

inline std::string layer_name_of(const char* pattern_text, int layer) {
  std::string name = pattern_text;
  const std::size_t star = name.find('*');
  if (star != std::string::npos) name.replace(star, 1, std::to_string(layer));
  return name;
}

inline void check_fit(const parameter& row, const resolved_parameter& p, const model_numbers& n,
                      const mesh_shape& mesh, const std::string& name) {
  std::int64_t extent[4] = {};
  for (int d = 0; d < row.rank; ++d) extent[d] = n.extent(row.extent[d]);
  if (divides(row, extent, n.extent(row.unit_size), p.compute, mesh.size)) return;
  std::string text = "plait[indivisible]: " + name + " [";
  for (int d = 0; d < row.rank; ++d) text += (d > 0 ? ", " : "") + std::to_string(extent[d]);
  text += "]: the dim holds ";
  for (int d = 0; d < row.rank; ++d) {
    std::int64_t pieces = 1;
    for (int c = 0; c < p.compute.cuts; ++c)
      if (p.compute.at[p.compute.cut[c]].dim == d) pieces *= mesh.size[p.compute.cut[c]];
    const std::int64_t unit = d == row.unit_dim ? n.extent(row.unit_size) : 1;
    const std::int64_t sections = d == row.packed_dim ? row.sections : 1;
    if (pieces == 1 || (extent[d] % unit == 0 && (extent[d] / unit) % (sections * pieces) == 0)) continue;
    text += std::to_string(extent[d] / unit / sections) + " indivisible units, the axes cut it in " + std::to_string(pieces) + " pieces";
    break;
  }
  throw plan_misfit(text + "; choose axis sizes that divide it");
}

}  // namespace detail

/// Registers every parameter of the model. Units: embedding, one a layer, final norm + head. For inference the weights are kept in the
/// compute type, which is what training computes with.
inline void build_store(context& c, parameter_store& store, const plan_table& t, const model_numbers& n, store_use use = store_use::training) {
  const int layers = static_cast<int>(n.sparse_layer.size());
  for (int i = 0; i < t.numbers->count; ++i)
    if (t.numbers->number[i] >= layers)
      throw plan_misfit("plait[unused-rule]: a rule names layer " + std::to_string(t.numbers->number[i]) + ", but the model has " +
                        std::to_string(layers) + " layers; correct its pattern or delete it");
  for (int a = 0; a < t.atoms; ++a)
    if (t.sizes[a] != dyn && t.sizes[a] != c.mesh.size[a])
      throw plan_misfit("the plan's mesh has " + std::to_string(t.sizes[a]) + " ranks on axis " + std::to_string(a) + ", these ranks " +
                        std::to_string(c.mesh.size[a]) + "; run on the plan's mesh");
  store.types = t.types;
  store.use = use;
  if (use == store_use::inference) store.types.parameter = store.types.master = t.types.compute;
  store.set_rows(t.row_count, layers);
  store.add_unit("embed_tokens", -1, n.tied ? gathered::keep : t.units.embedding);
  for (int l = 0; l < layers; ++l) store.add_unit("layer", l, t.units.layer);
  store.add_unit("lm_head", -1, t.units.head);

  const auto is_alias = [&](const parameter& row) {
    for (int i = 0; n.tied && i < t.tie_count; ++i)
      if (detail::same_text(t.ties[i].alias, row.name)) return true;
    return false;
  };
  const auto add = [&](int r, int layer) {
    const parameter& row = t.rows[r];
    if (!n.has(row)) return;
    const resolved_parameter& p = t.at(r, layer);
    parameter_slot s;
    s.name = detail::layer_name_of(row.name, layer);
    detail::check_fit(row, p, n, c.mesh, s.name);
    s.row = r;
    s.layer = layer;
    s.trained = row.trained;
    s.rank = row.rank;
    for (int d = 0; d < row.rank; ++d) s.global[d] = n.extent(row.extent[d]);
    s.compute = p.compute;
    s.storage = p.dim_open ? detail::stored_by(p.compute, p.storage, detail::even_dim(p.compute, p.storage, s.rank, s.global, c.mesh.size)) : p.storage;
    const bool first = std::string_view(row.name).starts_with("model.embed_tokens");
    s.unit = layer >= 0 ? layer + 1 : (first ? 0 : layers + 1);
    store.add(c, std::move(s));
  };
  const auto layered = [&](int r) { return std::string_view(t.rows[r].name).find('*') != std::string_view::npos; };
  for (int r = 0; r < t.row_count; ++r)
    if (!layered(r) && !is_alias(t.rows[r])) add(r, -1);
  for (int l = 0; l < layers; ++l)
    for (int r = 0; r < t.row_count; ++r) {
      const layer_kind kind = n.sparse_layer[static_cast<std::size_t>(l)] ? layer_kind::sparse : layer_kind::dense;
      if (layered(r) && (t.rows[r].kind == layer_kind::any || t.rows[r].kind == kind)) add(r, l);
    }
  for (int i = 0; n.tied && i < t.tie_count; ++i) {
    int alias = -1, target = -1;
    for (int r = 0; r < t.row_count; ++r) {
      if (detail::same_text(t.rows[r].name, t.ties[i].alias)) alias = r;
      if (detail::same_text(t.rows[r].name, t.ties[i].target)) target = r;
    }
    if (alias >= 0 && target >= 0) store.alias(alias, -1, store.find(target, -1));
  }
}

/// Calls visit(start[], count[], element offset in the shard) for every box of a slot's storage shard, in memory order.
template <class Slot, class Visit>
void for_each_box(const Slot& s, Visit visit) {
  if (s.storage_local.size() == 0) return;
  std::int64_t start[4] = {}, count[4] = {};
  int at[4] = {};
  // Boxes are visited with the last dim fastest; each is handed over with its offset in the (row-major) shard.
  while (true) {
    std::int64_t offset = 0;
    for (int d = 0; d < s.rank; ++d) {
      const index_set& held = s.storage_held[static_cast<std::size_t>(d)];
      start[d] = held.range[at[d]].begin;
      count[d] = held.range[at[d]].size();
      std::int64_t before = 0;
      for (int i = 0; i < at[d]; ++i) before += held.range[i].size();
      offset = offset * s.storage_local.extent[d] + before;
    }
    visit(start, count, offset);
    int d = s.rank - 1;
    while (d >= 0 && ++at[d] == s.storage_held[static_cast<std::size_t>(d)].count) at[d--] = 0;
    if (d < 0) return;
  }
}

/// Copies a densely packed box into its place in the shard.
inline void place_box(context& c, const parameter_slot& s, const view& shard, const std::int64_t* count, std::int64_t offset, const void* from) {
  std::int64_t to_start[4] = {}, zero[4] = {};
  std::int64_t rest = offset;
  for (int d = s.rank - 1; d >= 0; --d) {
    to_start[d] = rest % shard.extent[d];
    rest /= shard.extent[d];
  }
  c.ops->copy_box(c.exec, shard.data, shard.extent, to_start, from, count, zero, count, s.rank, size_of(shard.type));
}

}  // namespace plait::inline v0_1
