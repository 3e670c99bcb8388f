#pragma once
// What a plan costs, before anything runs: a pure function of the plan's value table, the model's numbers, the mesh and the shape of
// the batch.
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "plait/train/step_walk.hpp"

namespace plait::inline v0_1 {
namespace detail {

/// Nothing is stored: for building a parameter store of which only the shapes are wanted.
inline const backend& shapes_only() {
  static const backend table = [] {
    backend b{};
    b.name = "shapes";
    b.allocate = [](void*, std::size_t) -> void* { return nullptr; };
    b.release = [](void*, void*, std::size_t) {};
    b.fill = [](const execution&, view, double) {};
    return b;
  }();
  return table;
}

}  // namespace detail

/// What a step of a decoder under plan `t` does on `rank` of `mesh`. `axis_names`: the names of the mesh's atoms, in its order.
/// Throws plan_misfit where the plan does not fit the model or the mesh.
inline explanation explain(const plan_table& t, const model_numbers& n, const mesh_shape& mesh, const std::vector<std::string>& axis_names,
                           const explain_options& options, int rank = 0) {
  if (options.rows < 1 || options.columns < 1 || options.accumulation < 1 || rank < 0 || rank >= mesh.ranks())
    throw std::invalid_argument("plait: explain needs a batch of at least one token, at least one slice and a rank of the mesh");
  context c;
  c.ops = &detail::shapes_only();
  c.mesh = mesh;
  c.rank = rank;
  mesh.coordinates(rank, c.coordinate);
  parameter_store store;
  build_store(c, store, t, n);

  explanation out;
  out.rank = rank;
  for (const parameter_slot& s : store.slots) {
    explained_parameter p;
    p.name = s.name;
    p.unit = store.units[static_cast<std::size_t>(s.unit)].name;
    p.layer = s.layer;
    p.compute_type = s.compute_local.type;
    p.master_type = s.master.type;
    for (int d = 0; d < s.rank; ++d) {
      p.global.push_back(s.global[d]);
      p.compute_local.push_back(s.compute_local.extent[d]);
      p.storage_local.push_back(s.storage_local.extent[d]);
    }
    p.compute = text_of(s.compute, axis_names);
    p.storage = text_of(s.storage, axis_names, &s.compute);
    const auto bytes = [](const view& v) { return static_cast<std::int64_t>(v.bytes()); };
    p.compute_bytes = bytes(s.compute_local);
    p.storage_bytes = bytes(s.master);
    p.gradient_bytes = s.trained ? bytes(s.accumulated) : 0;
    p.optimizer_bytes = s.trained ? bytes(s.moment1) + bytes(s.moment2) : 0;
    out.memory.parameters += p.storage_bytes + (s.memory[4] != nullptr ? bytes(s.copy) : 0);
    out.memory.gradients += p.gradient_bytes;
    out.memory.moments += p.optimizer_bytes;
    out.parameters.push_back(std::move(p));
  }
  out.memory.gathered = store.gathered_bound();
  detail::step_walk(t, n, c, store, options, axis_names, out).run();

  for (std::size_t l = 0; l < n.sparse_layer.size(); ++l) {
    layer_traffic layer;
    layer.layer = static_cast<int>(l);
    layer.kind = n.sparse_layer[l] ? layer_kind::sparse : layer_kind::dense;
    out.layers.push_back(layer);
  }
  for (const explained_collective& e : out.collectives) {
    if (e.part != traffic::layer) continue;
    layer_traffic& layer = out.layers[static_cast<std::size_t>(e.layer)];
    ++(e.backward ? layer.backward : e.recomputed ? layer.recomputed : layer.forward)[static_cast<std::size_t>(e.kind)];
  }
  for (layer_traffic& layer : out.layers)
    for (std::size_t k = 0; k < 6; ++k)
      for (int* const count : {&layer.forward[k], &layer.backward[k], &layer.recomputed[k]}) *count /= static_cast<int>(out.slices);
  return out;
}

}  // namespace plait::inline v0_1
