#pragma once
// A tensor at run time, without its types: a local view, the global extents, the layout value, a gradient slot. The typed shell is
// ops/tensor.hpp.
#include <memory>
#include <stdexcept>
#include <utility>

#include "plait/runtime/context.hpp"
#include "plait/tensor/local_shape.hpp"

namespace plait::inline v0_1 {

/// Where the gradient of a value gathers. Its layout is grad_of(value's layout); nothing else may decide that.
struct gradient_slot {
  view local{};                  // a parameter's gradient may be wider than its value
  dtype value_type = dtype::f32;  // of the value: what pullbacks produce
  std::shared_ptr<buffer> memory;
  bool filled = false;
  bool own = false;  // nobody else refers to the memory, so that it may be added to in place
  // A parameter's slot whose memory is the step's accumulator itself: it stays, and every contribution is added to it. `fresh`: what
  // lies there is of an earlier step, so the first contribution overwrites it.
  bool standing = false, fresh = false;
};

/// Memory of a gathered parameter, which comes and goes while the tape still names it.
struct gathered_cell {
  void* data = nullptr;
  std::shared_ptr<buffer> memory;
};

struct array {
  view local{};
  std::int64_t global[max_rank] = {};
  layout_value layout{};
  std::shared_ptr<buffer> memory;
  std::shared_ptr<gradient_slot> gradient;  // null: no gradient wanted
  std::shared_ptr<gathered_cell> cell;      // parameters: where the data are now (`local.data` and `memory` are null then)

  array() = default;
  array(const array&) = default;
  array& operator=(const array&) = default;
  /// What was moved from is empty: memory that went elsewhere is not read through it, without its gradient.
  array(array&& other) noexcept : array(static_cast<const array&>(other)) {
    const array empty;
    other = empty;
  }
  array& operator=(array&& other) noexcept {
    array taken(std::move(other));
    return *this = static_cast<const array&>(taken);
  }
  ~array() = default;

  /// The local view as it is now.
  view now() const {
    view v = local;
    if (cell == nullptr) return v;
    v.data = cell->data;
    if (v.data == nullptr && v.size() > 0)
      throw std::logic_error("plait: a parameter is read outside of its unit; its weights are there between enter_unit and leave_unit");
    return v;
  }
  dtype type() const { return local.type; }
  int rank() const { return local.rank; }
};

namespace detail {

inline view shaped(dtype type, int rank, const std::int64_t* extent) {
  view v;
  v.type = type;
  v.rank = rank;
  for (int d = 0; d < rank; ++d) v.extent[d] = extent[d];
  return v;
}

inline view allocate(context& c, view like, std::shared_ptr<buffer>& memory) {
  memory = c.allocate(like.bytes());
  like.data = memory->data();
  return like;
}

/// A fresh array of the given local and global extents.
inline array make_array(context& c, dtype type, int rank, const std::int64_t* local, const std::int64_t* global,
                        const layout_value& layout) {
  array a;
  a.local = allocate(c, shaped(type, rank, local), a.memory);
  for (int d = 0; d < rank; ++d) a.global[d] = global[d];
  a.layout = layout;
  return a;
}

/// Local extents that a rank at `coordinate` holds under `layout`.
inline void local_extents(const layout_value& layout, int rank, const std::int64_t* global, const mesh_shape& mesh,
                          const int* coordinate, std::int64_t* out) {
  for (int d = 0; d < rank; ++d) out[d] = held_indices(layout, d, global[d], mesh.size, coordinate).size();
}

/// A fresh array whose local extents follow from the layout.
inline array make_array(context& c, dtype type, int rank, const std::int64_t* global, const layout_value& layout) {
  if (layout.atoms != c.mesh.atoms) throw std::logic_error("plait: the tensor's mesh is not the mesh that these ranks run on");
  std::int64_t local[max_rank] = {};
  local_extents(layout, rank, global, c.mesh, c.coordinate, local);
  return make_array(c, type, rank, local, global, layout);
}

inline bool wants_gradient(const context& c, const array& x) { return c.recording != nullptr && x.gradient != nullptr; }

/// Gives `y` a gradient slot of its own type.
inline void track(array& y) {
  y.gradient = std::make_shared<gradient_slot>();
  y.gradient->local = y.local;
  y.gradient->value_type = y.local.type;
  y.gradient->local.data = nullptr;
}

/// Where a pullback puts its part of a gradient: added to what is there, or written over it.
struct addend_target {
  view to{};
  bool add = false;
};
/// The slot's memory for pullbacks that can add in place or overwrite: a copy of its own if the memory is shared.
inline addend_target addend(context& c, gradient_slot& slot) {
  if (slot.standing) {
    slot.filled = true;
    return {slot.local, !std::exchange(slot.fresh, false)};
  }
  if (slot.filled && slot.own) return {slot.local, true};
  std::shared_ptr<buffer> memory;
  const view fresh = allocate(c, slot.local, memory);
  const bool add = slot.filled;
  if (add) c.ops->copy(c.exec, fresh.data, slot.local.data, fresh.bytes());
  slot.local = fresh;
  slot.memory = std::move(memory);
  slot.filled = slot.own = true;
  return {slot.local, add};
}
/// The same for pullbacks that only add: zeros on first use.
inline view accumulator(context& c, gradient_slot& slot) {
  const addend_target at = addend(c, slot);
  if (!at.add) c.ops->fill(c.exec, at.to, 0.0);
  return at.to;
}

/// Adds a gradient that lies in memory which others may refer to.
inline void contribute(context& c, const std::shared_ptr<gradient_slot>& slot, view ready, const std::shared_ptr<buffer>& memory) {
  if (slot == nullptr) return;
  if (!slot->filled && !slot->standing && slot->local.type == ready.type) {
    slot->local.data = ready.data;
    slot->memory = memory;
    slot->filled = true;
    slot->own = false;
    return;
  }
  if (slot->standing || slot->local.type != ready.type) {
    c.ops->accumulate(c.exec, ready, accumulator(c, *slot));
    return;
  }
  std::shared_ptr<buffer> sum;
  const view out = allocate(c, slot->local, sum);
  c.ops->add(c.exec, slot->local, ready, out);
  slot->local = out;
  slot->memory = std::move(sum);
  slot->own = true;
}

/// Adds what `write` puts into a fresh view of the value's own type.
template <class Write>
void contribute(context& c, const std::shared_ptr<gradient_slot>& slot, Write write) {
  if (slot == nullptr) return;
  std::shared_ptr<buffer> memory;
  view fresh = slot->local;
  fresh.type = slot->value_type;
  fresh = allocate(c, fresh, memory);
  write(fresh);
  contribute(c, slot, fresh, memory);
  if (slot->memory == memory) slot->own = true;
}

}  // namespace detail
}  // namespace plait::inline v0_1
