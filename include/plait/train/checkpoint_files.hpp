#pragma once
// Which bytes of a checkpoint lie where, as a function of layouts and mesh alone: every rank knows every rank's files, so that only
// digests have to be exchanged. The same boxes serve saving, loading and resharding.
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "plait/io/manifest.hpp"
#include "plait/io/write_safetensors.hpp"
#include "plait/train/layout_text.hpp"
#include "plait/train/store_builder.hpp"

namespace plait::inline v0_1 {

/// Boxes of a rank's storage shard in memory order, with their element offset in the shard.
struct shard_box {
  io::tensor_box box;
  std::int64_t offset = 0;
};
template <class Slot>
std::vector<shard_box> boxes_of(const Slot& slot) {
  std::vector<shard_box> out;
  for_each_box(slot, [&](const std::int64_t* start, const std::int64_t* count, std::int64_t offset) {
    shard_box b;
    for (std::size_t d = 0; d < static_cast<std::size_t>(slot.rank); ++d) b.box.start[d] = start[d], b.box.count[d] = count[d];
    b.offset = offset;
    out.push_back(b);
  });
  return out;
}

/// What a rank at `coordinate` stores of a parameter.
struct stored_shard {
  int rank = 0;
  view storage_local{};
  detail::index_sets storage_held{};
};
inline stored_shard shard_at(const parameter_slot& s, const mesh_shape& mesh, const int* coordinate) {
  stored_shard other;
  other.rank = s.rank;
  other.storage_local = s.storage_local;
  other.storage_held = detail::holdings(s.storage, s.storage_local, s.global, mesh, coordinate);
  for (int d = 0; d < s.rank; ++d) other.storage_local.extent[d] = other.storage_held[static_cast<std::size_t>(d)].size();
  return other;
}
/// Of equal copies, the one on the first rank is written.
inline bool writes_copy(const parameter_slot& s, const mesh_shape& mesh, const int* coordinate) {
  for (int a = 0; a < mesh.atoms; ++a)
    if (!s.storage.at[a].cuts() && coordinate[a] != 0) return false;
  return true;
}

/// The roles of a parameter that a run of these types must keep, with their element types. What is not trained is kept as it is stored.
struct kept_role {
  io::tensor_role role;
  dtype type;
};
inline std::vector<kept_role> roles_of(const precision_types& types, const parameter_slot& s) {
  if (!s.trained) return {{io::tensor_role::parameter, s.master.type}};
  std::vector<kept_role> roles = {{io::tensor_role::parameter, types.parameter}};
  if (types.parameter != types.master) roles.push_back({io::tensor_role::master, types.master});
  roles.push_back({io::tensor_role::moment1, types.moment});
  roles.push_back({io::tensor_role::moment2, types.moment});
  return roles;
}
/// The memory of a role. A parameter in its own, narrower type has none: it is made from the master.
inline const view& memory_of(const parameter_slot& s, io::tensor_role role) {
  return role == io::tensor_role::moment1 ? s.moment1 : role == io::tensor_role::moment2 ? s.moment2 : s.master;
}

struct planned_tensor {
  int slot = 0;
  kept_role kept;
  shard_box part;
  std::uint64_t position = 0;  // in the file
};
struct planned_file {
  std::string name;
  std::string header;
  std::vector<planned_tensor> tensors;  // in the order of the file
  std::uint64_t bytes = 0;
};

/// The files of one rank. A tensor's second box goes to a second file, since PyTorch's reader knows one box a name and file.
inline std::vector<planned_file> files_of_rank(const parameter_store& store, const mesh_shape& mesh, int rank) {
  int at[max_atoms] = {};
  mesh.coordinates(rank, at);
  struct draft {
    bool optimizer;
    std::vector<io::tensor_header> headers;
    std::vector<planned_tensor> tensors;
    std::string sharding;
  };
  std::vector<draft> drafts[2];
  for (std::size_t i = 0; i < store.slots.size(); ++i) {
    const parameter_slot& s = store.slots[i];
    if (!writes_copy(s, mesh, at)) continue;
    const std::vector<shard_box> boxes = boxes_of(shard_at(s, mesh, at));
    for (const kept_role& kept : roles_of(store.types, s))
      for (std::size_t b = 0; b < boxes.size(); ++b) {
        const bool optimizer = kept.role != io::tensor_role::parameter;
        if (drafts[optimizer].size() <= b) drafts[optimizer].resize(b + 1);
        draft& d = drafts[optimizer][b];
        const std::string key = io::key_of(kept.role, s.name);
        const auto rank_of_tensor = static_cast<std::size_t>(s.rank);
        std::vector<std::int64_t> shape(boxes[b].box.count.begin(), boxes[b].box.count.begin() + s.rank);
        d.headers.push_back({key, io::element_of(kept.type), std::move(shape)});
        d.tensors.push_back({static_cast<int>(i), kept, boxes[b], 0});
        d.sharding += d.sharding.empty() ? "{" : ",";
        io::append_json_string(d.sharding, key);
        d.sharding += ":{\"saved_offsets\":[";
        for (std::size_t k = 0; k < rank_of_tensor; ++k) d.sharding += (k > 0 ? "," : "") + std::to_string(boxes[b].box.start[k]);
        d.sharding += "],\"global_shape\":[";
        for (std::size_t k = 0; k < rank_of_tensor; ++k) d.sharding += (k > 0 ? "," : "") + std::to_string(s.global[k]);
        d.sharding += "]}";
      }
  }
  const auto five = [](std::size_t n) { return io::zero_padded(n, 5); };
  std::vector<planned_file> files;
  for (const bool optimizer : {false, true})
    for (std::size_t b = 0; b < drafts[optimizer].size(); ++b) {
      draft& d = drafts[optimizer][b];
      planned_file f;
      f.name = std::string(optimizer ? "optim-" : "shard-") + five(static_cast<std::size_t>(rank) + 1) + "-model-" + five(b + 1) + "-of-" +
               five(drafts[optimizer].size()) + ".safetensors";
      const std::vector<std::size_t> order = io::file_order(d.headers);
      f.header = io::safetensors_header(d.headers, order, {{"DCP_SHARDING_INFO", d.sharding + "}"}, {"DCP_VERSION", "1.0"}, {"format", "pt"}});
      f.bytes = f.header.size();
      for (const std::size_t i : order) {
        d.tensors[i].position = f.bytes;
        f.bytes += d.headers[i].bytes();
        f.tensors.push_back(d.tensors[i]);
      }
      files.push_back(std::move(f));
    }
  return files;
}

/// The manifest of a save, but for the files' digests.
inline io::manifest plan_manifest(const parameter_store& store, const mesh_shape& mesh, const std::vector<std::string>& axes) {
  io::manifest m;
  m.axes = axes;
  for (int a = 0; a < mesh.atoms; ++a) m.sizes.push_back(mesh.size[a]);
  std::map<std::pair<int, io::tensor_role>, std::size_t> place;
  for (std::size_t i = 0; i < store.slots.size(); ++i)
    for (const kept_role& kept : roles_of(store.types, store.slots[i])) {
      const parameter_slot& s = store.slots[i];
      io::stored_tensor t;
      t.name = s.name;
      t.role = kept.role;
      t.type = io::element_of(kept.type);
      t.rank = s.rank;
      for (int d = 0; d < s.rank; ++d) t.shape[static_cast<std::size_t>(d)] = s.global[d];
      t.layout = text_of(s.storage, axes, &s.compute);
      place[{static_cast<int>(i), kept.role}] = m.tensors.size();
      m.tensors.push_back(std::move(t));
    }
  for (int rank = 0; rank < mesh.ranks(); ++rank)
    for (const planned_file& f : files_of_rank(store, mesh, rank)) {
      for (const planned_tensor& t : f.tensors)
        m.tensors[place.at({t.slot, t.kept.role})].chunks.push_back({static_cast<int>(m.files.size()), t.position, t.part.box});
      m.files.push_back({f.name, f.bytes, f.header.size(), {}});
    }
  std::string text;
  for (std::size_t a = 0; a < m.axes.size(); ++a) text += m.axes[a] + "=" + std::to_string(m.sizes[a]) + ";";
  for (const io::stored_tensor& t : m.tensors) text += t.name + ":" + t.layout + ";";
  m.plan_digest = io::digest_of_text(text);
  return m;
}

}  // namespace plait::inline v0_1
