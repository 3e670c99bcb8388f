#pragma once
// Weights in and out: every rank reads only the byte ranges of its own storage shards; a whole tensor is gathered for export.
#include <memory>
#include <span>

#include "plait/io/config.hpp"
#include "plait/io/load_tensors.hpp"
#include "plait/runtime/bfloat16.hpp"
#include "plait/train/random.hpp"
#include "plait/train/store_builder.hpp"

namespace plait::inline v0_1 {

/// The model's numbers for a decoder's parameter table (order of decoder_dims).
inline model_numbers numbers_of(const io::model_config& m) {
  model_numbers n;
  n.symbols = {m.vocabulary, m.hidden, m.heads * m.head_dim, m.kv_heads * m.head_dim, m.head_dim, m.dense_intermediate,
               m.expert_intermediate, 2 * m.expert_intermediate, m.experts, m.shared_intermediate,
               m.query_rank, m.latent_rank, m.latent_rank + m.rotated(), m.expanded_head(), m.heads * m.expanded_head(), m.value_head,
               m.heads * m.value_head, m.latent_rank > 0 && m.attention_bias ? 1 : 0,
               m.query_rank > 0 && m.attention_bias ? 1 : 0, m.heads, m.attention_bias ? 1 : 0,
               m.attention_bias || m.query_key_value_bias, m.attention_bias, m.mlp_bias,
               m.mlp_bias && m.shared_intermediate > 0, m.head_bias, m.query_key_norm};
  n.sparse_layer = m.sparse_layer;
  n.tied = m.tied;
  n.top_k = m.top_k;
  n.layer_top_k = m.layer_top_k;
  return n;
}

/// A parameter type narrower than the master's rounds the weights once, when they come in.
inline void round_master(context& c, const parameter_store& store, parameter_slot& s) {
  if (store.types.parameter == s.master.type || !s.trained) return;
  std::shared_ptr<buffer> memory;
  view narrow = s.storage_local;
  narrow.type = store.types.parameter;
  narrow = detail::allocate(c, narrow, memory);
  c.ops->cast(c.exec, s.master, narrow);
  c.ops->cast(c.exec, narrow, s.master);
}

/// Fills the storage shards from a Hugging Face folder.
inline void load_weights(context& c, parameter_store& store, const io::hf_folder& folder, const io::model_config& config) {
  for (parameter_slot& s : store.slots) {
    s.current = false;
    const std::span<const std::int64_t> global(s.global, static_cast<std::size_t>(s.rank));
    std::shared_ptr<buffer> memory;
    view to = s.master;  // or memory of the parameter's own, narrower type, which rounds the weights once
    if (s.trained) to.type = store.types.parameter;
    if (to.type != s.master.type) to = detail::allocate(c, to, memory);
    for_each_box(s, [&](const std::int64_t* start, const std::int64_t* count, std::int64_t offset) {
      std::int64_t n = 1;
      for (int d = 0; d < s.rank; ++d) n *= count[d];
      const auto packed = std::make_unique_for_overwrite<char[]>(static_cast<std::size_t>(n) * size_of(to.type));
      io::load_box(folder, config.family, s.name, global, {start, static_cast<std::size_t>(s.rank)}, {count, static_cast<std::size_t>(s.rank)},
                   to.type, packed.get());
      place_box(c, s, to, count, offset, packed.get());
    });
    if (memory != nullptr) c.ops->cast(c.exec, to, s.master);
  }
}

/// Fresh weights: norms 1, biases and what is not trained 0, the rest normal with the given deviation, by (seed, name, global index).
inline void initialise_weights(context& c, parameter_store& store, std::uint64_t seed, double deviation) {
  for (parameter_slot& s : store.slots) {
    s.current = false;
    const std::uint64_t key = stream_key(seed, s.name);
    const bool bias = s.name.ends_with(".bias") || s.name.ends_with("_bias");
    for_each_box(s, [&](const std::int64_t* start, const std::int64_t* count, std::int64_t offset) {
      std::int64_t n = 1;
      for (int d = 0; d < s.rank; ++d) n *= count[d];
      std::vector<float> packed(static_cast<std::size_t>(n));
      for (std::int64_t i = 0; i < n; ++i) {
        std::int64_t rest = i, global = 0, at[4] = {};
        for (int d = s.rank - 1; d >= 0; --d) {
          at[d] = start[d] + rest % count[d];
          rest /= count[d];
        }
        for (int d = 0; d < s.rank; ++d) global = global * s.global[d] + at[d];
        packed[static_cast<std::size_t>(i)] =
            !s.trained ? 0.0f : s.rank == 1 ? (bias ? 0.0f : 1.0f) : static_cast<float>(deviation * normal(key, static_cast<std::uint64_t>(global)));
      }
      const auto place = [&]<class T>(std::vector<T> values) { place_box(c, s, s.master, count, offset, values.data()); };
      if (s.master.type == dtype::f32) place(std::move(packed));
      else if (s.master.type == dtype::bf16) place(std::vector<bfloat16>(packed.begin(), packed.end()));
      else place(std::vector<double>(packed.begin(), packed.end()));
    });
    round_master(c, store, s);
  }
}

/// A shard of `type` under the slot's storage layout, gathered whole onto every rank. `gradient`: the shard is a gradient that
/// has been synchronised, so that uncut axes hold equal copies.
inline array gather_whole(context& c, const parameter_slot& s, const view& shard) {
  array a;
  a.local = shard;
  for (int d = 0; d < s.rank; ++d) a.global[d] = s.global[d];
  layout_value from = s.storage, to;
  to.atoms = from.atoms;
  for (int i = 0; i < from.atoms; ++i) {
    to.at[i] = Invariant::value;
    if (!from.at[i].cuts()) from.at[i] = Invariant::value;
  }
  std::shared_ptr<buffer> memory;
  detail::move_layout(c, a.local, memory, a.global, from, to);
  a.memory = std::move(memory);
  a.layout = to;
  return a;
}

}  // namespace plait::inline v0_1
