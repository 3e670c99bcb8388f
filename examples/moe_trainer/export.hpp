#pragma once
// Tensors out of the ranks' shards: whole, on rank 0, one after the other.
#include <string>

#include "session.hpp"

namespace trainer {

/// Writes config.json and model.safetensors as Hugging Face reads them. Every rank must call it.
void export_folder(plait::context& c, rank_model& m, const session& s, const std::string& folder);

/// Writes logits [B,S,V] and grad.<name> in float32. Every rank must call it.
void dump(plait::context& c, rank_model& m, const plait::array& logits, const std::string& path);

}  // namespace trainer
