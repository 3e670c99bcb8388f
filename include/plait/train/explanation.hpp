#pragma once
// What explain says of a plan: every parameter, every collective of a step, the memory of a rank. For whoever prints it or compares it.
#include <cstdint>
#include <string>
#include <vector>

#include "plait/comm/communicator.hpp"
#include "plait/plan/parameter_table.hpp"
#include "plait/runtime/view.hpp"

namespace plait::inline v0_1 {

/// What a collective is for. A layer's activations are counted apart from all else.
enum class traffic : unsigned char { embedding, layer, head, loss, output, weights, gradients, step };

constexpr const char* name_of(traffic part) {
  switch (part) {
    case traffic::embedding: return "embedding";
    case traffic::layer: return "layer activations";
    case traffic::head: return "head";
    case traffic::loss: return "loss";
    case traffic::output: return "logits";
    case traffic::weights: return "FSDP weights and gradients";
    case traffic::gradients: return "gradients of replicated weights";
    case traffic::step: return "step";
  }
  return "?";
}

struct explained_parameter {
  std::string name;
  std::string unit;  // what it is gathered with
  int layer = -1;
  dtype compute_type = dtype::f32, master_type = dtype::f32;
  std::vector<std::int64_t> global, compute_local, storage_local;
  std::string compute, storage;  // layouts
  std::int64_t compute_bytes = 0, storage_bytes = 0, gradient_bytes = 0, optimizer_bytes = 0;
};

enum class rows_go : unsigned char { nowhere, to_experts, to_tokens };

/// One collective, as collective_record has it when it runs, and what it costs.
struct explained_collective {
  traffic part = traffic::step;
  std::string where;
  int layer = -1;
  collective_kind kind = collective_kind::all_reduce;
  bool maximum = false;
  std::uint32_t mask = 0;
  std::string axes;
  int ranks = 1;
  std::int64_t payload = 0;  // bytes of this rank's input, unpadded
  std::int64_t ring = 0;     // bytes that each rank sends under the ring algorithm
  bool backward = false;
  bool recomputed = false;   // a forward collective, repeated in backward
  /// Rows between the ranks of their tokens and those of their experts: how many, the tokens decide. payload and ring are then those of
  /// a balanced routing, `most` is what ring can be at most, and exchanged() says what they are for given counts.
  rows_go rows = rows_go::nowhere;
  std::int64_t row_bytes = 0, most = 0;
};

/// What an exchange of rows is on one member of its group: bytes of its input, and how many of them leave the rank.
struct exchanged_bytes {
  std::int64_t payload = 0, leaving = 0;
};
/// rows[i][j]: the rows that member i's tokens have for member j's experts.
inline exchanged_bytes exchanged(const explained_collective& e, const std::vector<std::vector<std::int64_t>>& rows, std::size_t member) {
  exchanged_bytes b;
  for (std::size_t m = 0; m < rows.size(); ++m) {
    const std::int64_t bytes = e.row_bytes * (e.rows == rows_go::to_experts ? rows[member][m] : rows[m][member]);
    b.payload += bytes;
    if (m != member) b.leaving += bytes;
  }
  return b;
}

/// Equal collectives of a step, of one layer or of several.
struct explained_group {
  explained_collective each;
  std::vector<int> layers;
  std::int64_t times = 0;
};

/// Activation collectives of one layer in one slice of the batch, by collective_kind.
struct layer_traffic {
  int layer = 0;
  layer_kind kind = layer_kind::sparse;
  int forward[6] = {}, backward[6] = {}, recomputed[6] = {};
};

/// Bytes on one rank, of what lives as long as the run and of gathered weights. Activations are not counted.
struct explained_memory {
  std::int64_t parameters = 0;  // master weights
  std::int64_t gradients = 0;   // accumulators
  std::int64_t moments = 0;
  std::int64_t gathered = 0;    // the most at one time: kept units and the two largest
  std::int64_t total() const { return parameters + gradients + moments + gathered; }
};

struct explanation {
  int rank = 0;
  std::int64_t slices = 1;  // forward and backward passes in the step
  std::vector<explained_parameter> parameters;
  std::vector<explained_collective> collectives;  // in the order in which they start
  std::vector<layer_traffic> layers;
  explained_memory memory;
};

/// Rows for printing: collectives that differ in nothing but the layer become one, with their number.
inline std::vector<explained_group> grouped(const std::vector<explained_collective>& collectives) {
  std::vector<explained_group> groups;
  const auto alike = [](const explained_collective& a, const explained_collective& b) {
    return a.part == b.part && a.where == b.where && a.kind == b.kind && a.maximum == b.maximum && a.mask == b.mask &&
           a.payload == b.payload && a.ring == b.ring && a.backward == b.backward && a.recomputed == b.recomputed && a.rows == b.rows &&
           a.most == b.most;
  };
  for (const explained_collective& e : collectives) {
    explained_group* group = nullptr;
    for (explained_group& g : groups)
      if (alike(g.each, e)) group = &g;
    if (group == nullptr) group = &groups.emplace_back(explained_group{e, {}, 0});
    ++group->times;
    std::size_t place = 0;
    while (place < group->layers.size() && group->layers[place] < e.layer) ++place;
    if (e.layer >= 0 && (place == group->layers.size() || group->layers[place] != e.layer))
      group->layers.insert(group->layers.begin() + static_cast<std::ptrdiff_t>(place), e.layer);
  }
  return groups;
}

}  // namespace plait::inline v0_1
