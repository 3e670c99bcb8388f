#pragma once
// A checkpoint into a store of any plan: each rank reads the boxes of its own storage shards, wherever they lie.
#include "plait/io/checkpoint.hpp"
#include "plait/train/checkpoint_files.hpp"
#include "plait/train/load.hpp"

namespace plait::inline v0_1 {

/// Fills one role of a slot.
inline void load_role(context& c, io::checkpoint_reader& reader, const io::stored_tensor& from, const parameter_slot& s, const view& to) {
  std::vector<char> packed;
  for (const shard_box& b : boxes_of(s)) {
    packed.resize(static_cast<std::size_t>(b.box.volume(s.rank)) * size_of(to.type));
    reader.read(from, b.box, to.type, packed.data());
    place_box(c, s, to, b.box.count.data(), b.offset, packed.data());
  }
}

/// Weights and, if wanted, the optimizer's state. The checkpoint must have passed io::require_model.
inline void load_checkpoint(context& c, parameter_store& store, const io::checkpoint& from, bool with_optimizer) {
  io::checkpoint_reader reader(from);
  const auto need = [&](io::tensor_role role, const std::string& name) -> const io::stored_tensor& {
    const io::stored_tensor* const t = from.find(role, name);
    if (t == nullptr) throw io::input_error(from.path, "", std::string(io::name_of(role)) + " of " + name + " is missing");
    return *t;
  };
  for (parameter_slot& s : store.slots) {
    s.current = false;
    const io::stored_tensor* const master = from.find(io::tensor_role::master, s.name);
    load_role(c, reader, master != nullptr ? *master : need(io::tensor_role::parameter, s.name), s, s.master);
    if (master == nullptr) round_master(c, store, s);
    if (!with_optimizer || !s.trained) continue;
    load_role(c, reader, need(io::tensor_role::moment1, s.name), s, s.moment1);
    load_role(c, reader, need(io::tensor_role::moment2, s.name), s, s.moment2);
  }
}

}  // namespace plait::inline v0_1
