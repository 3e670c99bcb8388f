#pragma once
// What a parameter store is made of: a parameter with its memory, and the unit that is gathered with it.
#include <memory>
#include <string>
#include <vector>

#include "plait/runtime/transfer.hpp"
#include "plait/style/fsdp.hpp"

namespace plait::inline v0_1 {

/// Element types by role, as the plan's precision policy says.
struct precision_types {
  dtype parameter = dtype::f32, compute = dtype::f32, reduce = dtype::f32, accumulate = dtype::f32, master = dtype::f32, moment = dtype::f32;
};

/// What a store is for decides what it holds beside the weights.
enum class store_use : unsigned char {
  training,   // masters, accumulators, moments
  gradients,  // masters and accumulators: no optimizer runs
  inference   // weights alone, in the compute type
};

struct parameter_slot {
  std::string name;  // with the layer number, as transformers names it in memory
  int row = -1, layer = -1;
  bool trained = true;  // else: no gradient, no moments, stored and read in the statistics' type
  int rank = 0;
  std::int64_t global[4] = {};
  layout_value compute{}, storage{};
  int unit = 0;

  std::uint32_t gather_mask = 0;  // axes that FSDP cuts and that have several ranks
  std::uint32_t sync_mask = 0;    // axes on which the gradient is a pending sum that FSDP does not reduce
  view compute_local{}, storage_local{};  // shapes on this rank
  detail::index_sets compute_held{}, storage_held{};

  view master{}, moment1{}, moment2{}, accumulated{};
  view copy{};           // the master in the compute type, where no gather makes one: written anew by the optimizer
  bool current = false;  // whether `copy` is of the master as it is now; whoever writes the master says false
  std::shared_ptr<buffer> memory[5];
  bool has_gradient = false;  // some op contributed since the step began

  std::shared_ptr<gathered_cell> cell = std::make_shared<gathered_cell>();
  std::shared_ptr<gradient_slot> gradient;
};

/// Those of a unit's parameters that one group of ranks gathers, in one collective: every member has a block of equal length, in which
/// its shards lie one after another.
struct gather_group {
  struct part {
    int slot = 0;
    std::int64_t offset = 0;   // within each member's block, in elements
    std::int64_t stretch = 0;  // elements of each member's shard if they lie one after another in the parameter too, else 0
  };
  std::uint32_t mask = 0;
  std::vector<part> parts;
  bool padded = false;  // some member's shard is shorter than its place
  std::int64_t block = 0, stored = 0, whole = 0;  // elements: of a block; of this rank's shards; of its gathered parameters

  any_communicator* under_way = nullptr;  // what the gather runs on, until it has been waited for
  ticket started{};
  std::shared_ptr<buffer> send, receive;
};

/// Parameters that are gathered together.
struct parameter_unit {
  const char* name = "";
  int layer = -1;
  gathered policy = gathered::free_after_forward;
  std::vector<int> slots;
  std::int64_t gathered_bytes = 0;

  std::vector<gather_group> groups;  // known once `grouped`: finding out takes a walk over all members
  bool grouped = false, started = false, present = false;
};

}  // namespace plait::inline v0_1
