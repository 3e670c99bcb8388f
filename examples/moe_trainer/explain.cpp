// What a step costs on one rank, from plan and shapes alone: nothing is loaded and nothing runs.
#include "plait/train/explain.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "plait/io/json_lines.hpp"
#include "token_source.hpp"

namespace trainer {
namespace {

using plait::io::json_line;

constexpr plait::collective_kind kinds[] = {plait::collective_kind::all_gather, plait::collective_kind::reduce_scatter,
                                            plait::collective_kind::all_reduce, plait::collective_kind::all_to_all};

/// "0-3, 5"
std::string ranges(const std::vector<int>& numbers) {
  std::string text;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::size_t first = i;
    while (i + 1 < numbers.size() && numbers[i + 1] == numbers[i] + 1) ++i;
    text += (text.empty() ? "" : ", ") + std::to_string(numbers[first]) + (i > first ? "-" + std::to_string(numbers[i]) : "");
  }
  return text;
}
std::string shape_text(const std::vector<std::int64_t>& extents) {
  std::string text = "[";
  for (std::size_t d = 0; d < extents.size(); ++d) text += (d > 0 ? ", " : "") + std::to_string(extents[d]);
  return text + "]";
}
const char* direction(const plait::explained_collective& e) { return e.recomputed ? "recomputed" : e.backward ? "backward" : "forward"; }
std::string place(const plait::explained_collective& e) { return e.where.empty() ? "faults" : e.where; }

/// Rows that go where the tokens' choices are.
std::string counted(const plait::explained_collective& e) {
  if (e.rows == plait::rows_go::nowhere) return "";
  return fmt::format(" (rows {}, balanced; at most {} leave)", e.rows == plait::rows_go::to_experts ? "to experts" : "to tokens", e.most);
}

json_line counts(const int* of_kind) {
  json_line line;
  for (const plait::collective_kind kind : kinds) line.add(plait::name_of(kind), of_kind[static_cast<std::size_t>(kind)]);
  return line;
}
std::string counts_text(const int* of_kind) {
  std::string text;
  for (const plait::collective_kind kind : kinds)
    if (const int n = of_kind[static_cast<std::size_t>(kind)]; n > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", n, plait::name_of(kind));
  return text.empty() ? "none" : text;
}

json_line as_json(const session& s, const plait::explanation& e, const plait::explain_options& shape, const std::vector<std::string>& axes) {
  std::vector<json_line> parameters, collectives, layers;
  for (const plait::explained_parameter& p : e.parameters)
    parameters.push_back(json_line()
                             .add("name", p.name)
                             .add("global", p.global)
                             .add("compute_layout", p.compute)
                             .add("storage_layout", p.storage)
                             .add("compute_local", p.compute_local)
                             .add("storage_local", p.storage_local)
                             .add("compute_bytes", p.compute_bytes)
                             .add("storage_bytes", p.storage_bytes)
                             .add("gradient_bytes", p.gradient_bytes)
                             .add("optimizer_bytes", p.optimizer_bytes));
  for (const plait::explained_group& g : plait::grouped(e.collectives)) {
    collectives.push_back(json_line()
                              .add("part", plait::name_of(g.each.part))
                              .add("where", place(g.each))
                              .add("layers", g.layers)
                              .add("kind", plait::name_of(g.each.kind))
                              .add("axes", g.each.axes)
                              .add("ranks", g.each.ranks)
                              .add("direction", direction(g.each))
                              .add("times", g.times)
                              .add("payload_bytes", g.each.payload)
                              .add("ring_bytes", g.each.ring));
    if (g.each.rows != plait::rows_go::nowhere)
      collectives.back().add("rows", g.each.rows == plait::rows_go::to_experts ? "to experts" : "to tokens").add("row_bytes", g.each.row_bytes).add("ring_bytes_at_most", g.each.most);
  }
  for (const plait::layer_traffic& l : e.layers)
    layers.push_back(json_line()
                         .add("layer", l.layer)
                         .add("kind", l.kind == plait::layer_kind::sparse ? "sparse" : "dense")
                         .add("forward", counts(l.forward))
                         .add("backward", counts(l.backward))
                         .add("recomputed", counts(l.recomputed)));
  json_line mesh;
  for (std::size_t a = 0; a < axes.size(); ++a) mesh.add(axes[a], s.o.mesh.size[a]);
  return json_line()
      .add("family", s.config.family)
      .add("mesh", mesh)
      .add("rank", e.rank)
      .add("rows", shape.rows)
      .add("columns", shape.columns)
      .add("slices", e.slices)
      .add("parameters", parameters)
      .add("collectives", collectives)
      .add("layers", layers)
      .add("memory", json_line()
                         .add("parameters", e.memory.parameters)
                         .add("gradients", e.memory.gradients)
                         .add("moments", e.memory.moments)
                         .add("gathered", e.memory.gathered)
                         .add("total", e.memory.total()));
}

void print(const session& s, const plait::explanation& e, const plait::explain_options& shape) {
  const plait::mesh_shape& mesh = s.o.mesh;
  fmt::print("{}: rank {} of {} (fsdp_outer {} x fsdp_inner {} x tp {}), {} rows of {} tokens a step in {} slice{}\n\n", s.config.family, e.rank,
             mesh.ranks(), mesh.size[0], mesh.size[1], mesh.size[2], shape.rows, shape.columns, e.slices, e.slices == 1 ? "" : "s");
  std::size_t name = 4, global = 6, storage = 6;
  for (const plait::explained_parameter& p : e.parameters) {
    name = std::max(name, p.name.size());
    global = std::max(global, shape_text(p.global).size());
    storage = std::max(storage, p.storage.size());
  }
  fmt::print("parameters; bytes: gathered, stored, optimizer state\n");
  for (const plait::explained_parameter& p : e.parameters)
    fmt::print("  {:{}}  {:{}}  {:{}}  computes {} stores {}  {} {} {}\n", p.name, name, shape_text(p.global), global, p.storage, storage,
               shape_text(p.compute_local), shape_text(p.storage_local), p.compute_bytes, p.storage_bytes, p.optimizer_bytes);

  fmt::print("\ncollectives of a step; bytes of one: payload this rank sends, ring cost\n");
  const std::vector<plait::explained_group> groups = plait::grouped(e.collectives);
  for (int part = 0; part <= static_cast<int>(plait::traffic::step); ++part) {
    std::int64_t payload = 0, ring = 0, times = 0;
    for (const plait::explained_group& g : groups)
      if (static_cast<int>(g.each.part) == part) payload += g.times * g.each.payload, ring += g.times * g.each.ring, times += g.times;
    if (times == 0) continue;
    fmt::print("  {}: {} collectives, payload {}, ring {}\n", plait::name_of(static_cast<plait::traffic>(part)), times, payload, ring);
    for (const plait::explained_group& g : groups)
      if (static_cast<int>(g.each.part) == part)
        fmt::print("    {:>5} x {:14} {:14} {:10} over {} ({} ranks)  {} {}{}{}\n", g.times, place(g.each), plait::name_of(g.each.kind), direction(g.each),
                   g.each.axes, g.each.ranks, g.each.payload, g.each.ring, counted(g.each), g.layers.empty() ? "" : "  layers " + ranges(g.layers));
  }
  if (groups.empty()) fmt::print("  none\n");

  fmt::print("\nactivation collectives of a layer, each slice\n");
  for (std::size_t i = 0; i < e.layers.size(); ++i) {
    const plait::layer_traffic& l = e.layers[i];
    std::vector<int> same{l.layer};
    const auto alike = [&](const plait::layer_traffic& m) {
      return m.kind == l.kind && std::equal(std::begin(l.forward), std::end(l.forward), m.forward) &&
             std::equal(std::begin(l.backward), std::end(l.backward), m.backward) &&
             std::equal(std::begin(l.recomputed), std::end(l.recomputed), m.recomputed);
    };
    while (i + 1 < e.layers.size() && alike(e.layers[i + 1])) same.push_back(e.layers[++i].layer);
    const std::string again = counts_text(l.recomputed);
    fmt::print("  layers {} ({}): forward {}; backward {}{}\n", ranges(same), l.kind == plait::layer_kind::sparse ? "sparse" : "dense", counts_text(l.forward),
               counts_text(l.backward), again == "none" ? "" : "; recomputed " + again);
  }
  fmt::print("\nmemory of rank {}: parameters {}, gradients {}, moments {}, gathered weights at most {}, together {} bytes (activations not counted)\n", e.rank,
             e.memory.parameters, e.memory.gradients, e.memory.moments, e.memory.gathered, e.memory.total());
}

}  // namespace

int explain(const options& o) {
  const session s(o);
  plait::explain_options shape;
  if (o.tokens.empty()) {
    shape.rows = o.batch.value_or(o.mesh.size[0] * o.mesh.size[1]);  // a row for every data rank
    shape.columns = o.sequence;
    require_step(shape.rows, shape.columns);
  } else {
    const plait::batch rows = token_source(s, o.tokens).at(0);
    shape.rows = rows.rows;
    shape.columns = rows.columns;
  }
  shape.accumulation = o.accumulation;
  shape.recompute = o.recompute;
  shape.balance_weighs = s.config.aux_weight() != 0;
  const std::vector<std::string> axes{"fsdp_outer", "fsdp_inner", "tp"};
  plait::explanation e;
  naming_kv_heads(s, [&] { e = plait::explain(s.table(), plait::numbers_of(s.config), o.mesh, axes, shape, o.rank); });
  if (o.json) fmt::print("{}\n", as_json(s, e, shape, axes).text());
  else print(s, e, shape);
  return 0;
}

}  // namespace trainer
