#pragma once
// Parameters at run time: each has a storage shard (master weight, moments, gradient accumulator) and, while its unit is gathered,
// compute memory. FSDP lives here and is nothing but the pair of layouts: gather = storage -> compute, coalesced per unit and rank
// group; its adjoint reduce-scatters the gradients.
#include <string>
#include <utility>
#include <vector>

#include "plait/plan/resolve.hpp"
#include "plait/runtime/transfer.hpp"
#include "plait/style/fsdp.hpp"

namespace plait::inline v0_1 {

/// Element types by role, as the plan's precision policy says.
struct precision_types {
  dtype parameter = dtype::f32, compute = dtype::f32, reduce = dtype::f32, accumulate = dtype::f32, master = dtype::f32, moment = dtype::f32;
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

/// Parameters that are gathered together.
struct parameter_unit {
  const char* name = "";
  int layer = -1;
  gathered policy = gathered::free_after_forward;
  std::vector<int> slots;
  std::int64_t gathered_bytes = 0;

  bool present = false;
  struct in_flight {
    std::uint32_t mask = 0;
    std::shared_ptr<buffer> send, receive;
    std::int64_t block = 0;  // elements
    any_communicator* group = nullptr;
    ticket started{};
  };
  std::vector<in_flight> flights;
  bool started = false;
};

class parameter_store {
 public:
  precision_types types;
  std::vector<parameter_slot> slots;
  std::vector<parameter_unit> units;
  bool prefetch = true;
  bool hold = false;  // weights stay gathered after a forward without a tape: generation reads the same ones for every token

  parameter_store() = default;
  parameter_store(const parameter_store&) = delete;
  parameter_store& operator=(const parameter_store&) = delete;
  ~parameter_store() {
    for (parameter_unit& u : units)
      for (parameter_unit::in_flight& f : u.flights) f.group->cancel();
  }

  parameter_slot& slot(int row, int layer) { return slots[static_cast<std::size_t>(find(row, layer))]; }
  int find(int row, int layer) const {
    const std::size_t key = static_cast<std::size_t>((layer + 1) * rows_ + row);
    return key < index_.size() ? index_[key] : -1;
  }
  void set_rows(int rows, int layers) {
    rows_ = rows;
    index_.assign(static_cast<std::size_t>((layers + 1) * rows), -1);
  }

  int add_unit(const char* name, int layer, gathered policy) {
    parameter_unit u;
    u.name = name;
    u.layer = layer;
    u.policy = policy;
    units.push_back(u);
    return static_cast<int>(units.size()) - 1;
  }

  /// Registers a parameter and allocates its storage shard (weights uninitialised, moments and accumulator zero).
  void add(context& c, parameter_slot s) {
    s.compute_local = s.storage_local = view{};
    s.compute_local.rank = s.storage_local.rank = s.rank;
    s.storage_local.type = s.trained ? types.master : statistic_of(types.compute);
    s.compute_local.type = s.trained ? types.compute : s.storage_local.type;
    s.compute_held = detail::holdings(s.compute, s.compute_local, s.global, c.mesh, c.coordinate);
    s.storage_held = detail::holdings(s.storage, s.storage_local, s.global, c.mesh, c.coordinate);
    for (int d = 0; d < s.rank; ++d) {
      s.compute_local.extent[d] = s.compute_held[static_cast<std::size_t>(d)].size();
      s.storage_local.extent[d] = s.storage_held[static_cast<std::size_t>(d)].size();
    }
    for (int a = 0; a < c.mesh.atoms; ++a) {
      if (c.mesh.size[a] == 1) continue;
      if (!(s.storage.at[a] == s.compute.at[a])) s.gather_mask |= 1u << a;
      else if (s.trained && s.compute.at[a].kind == placement_kind::replicate) s.sync_mask |= 1u << a;
    }
    s.master = state(c, s, s.storage_local.type, s.memory[0]);
    if (s.trained) {
      s.moment1 = state(c, s, types.moment, s.memory[1]);
      s.moment2 = state(c, s, types.moment, s.memory[2]);
      s.accumulated = state(c, s, types.accumulate, s.memory[3]);
      s.gradient = std::make_shared<gradient_slot>();
      s.gradient->local = s.compute_local;
      s.gradient->local.type = types.accumulate;
      s.gradient->value_type = types.compute;
      if (s.gather_mask == 0) {  // nothing moves: gradients go straight to the accumulator
        s.gradient->local.data = s.accumulated.data;
        s.gradient->standing = true;
      }
    }
    if (s.gather_mask == 0 && s.master.type != s.compute_local.type) s.copy = state(c, s, s.compute_local.type, s.memory[4]);
    parameter_unit& u = units[static_cast<std::size_t>(s.unit)];
    if (s.gather_mask != 0) u.gathered_bytes += static_cast<std::int64_t>(s.compute_local.bytes());
    index_[static_cast<std::size_t>((s.layer + 1) * rows_ + s.row)] = static_cast<int>(slots.size());
    u.slots.push_back(static_cast<int>(slots.size()));
    slots.push_back(std::move(s));
  }
  /// A second name for a slot (tied weights).
  void alias(int row, int layer, int target) { index_[static_cast<std::size_t>((layer + 1) * rows_ + row)] = target; }

  /// The parameter as ops see it. Its unit must be present when an op runs.
  array compute_array(parameter_slot& s) const {
    array a;
    a.local = s.compute_local;
    for (int d = 0; d < s.rank; ++d) a.global[d] = s.global[d];
    a.layout = s.compute;
    a.cell = s.cell;
    a.gradient = s.gradient;
    return a;
  }

  /// Brings a unit's weights in for the forward and leaves on the tape what its backward must do at this place: reduce-scatter
  /// the gradients, drop the weights.
  void enter_unit(context& c, int unit, int next) {
    gather(c, unit);
    if (prefetch && next >= 0) start(c, next);
    if (c.recording != nullptr)
      c.recording->push([this, unit](context& b) {
        reduce_gradients(b, unit);
        drop(unit);
      });
  }
  /// Ends a unit's forward. `previous`: the unit whose backward runs after this one's, to be prefetched then.
  void leave_unit(context& c, int unit, int previous) {
    const bool frees = units[static_cast<std::size_t>(unit)].policy == gathered::free_after_forward;
    if (c.recording == nullptr) {
      if (!hold) drop(unit);
      return;
    }
    if (frees) drop(unit);
    c.recording->push([this, unit, previous](context& b) {
      gather(b, unit);
      if (prefetch && previous >= 0) start(b, previous);
    });
  }
  void drop_all() {
    if (hold) return;
    for (std::size_t u = 0; u < units.size(); ++u) drop(static_cast<int>(u));
  }

  std::int64_t live_gathered_bytes() const { return live_; }
  std::int64_t peak_gathered_bytes() const { return peak_; }
  /// What live gathered bytes may never exceed: the kept units plus the two largest.
  std::int64_t gathered_bound() const {
    std::int64_t kept = 0, first = 0, second = 0;
    for (const parameter_unit& u : units) {
      if (u.policy == gathered::keep) kept += u.gathered_bytes;
      if (u.gathered_bytes > first) second = first, first = u.gathered_bytes;
      else if (u.gathered_bytes > second) second = u.gathered_bytes;
    }
    return kept + first + second;
  }

  /// Makes every accumulated gradient whole: one all-reduce per group of axes for what is still pending. Once a step.
  void synchronise_gradients(context& c) {
    named_scope scope(c, "gradients");
    c.layer = -1;
    for (parameter_slot& s : slots)
      if (s.trained && std::exchange(s.gradient->fresh, false)) c.ops->fill(c.exec, s.accumulated, 0.0);  // no op reached it
    std::vector<std::uint32_t> masks;
    for (const parameter_slot& s : slots) {
      bool known = s.sync_mask == 0;
      for (std::uint32_t m : masks) known = known || m == s.sync_mask;
      if (!known) masks.push_back(s.sync_mask);
    }
    for (std::uint32_t mask : masks) {
      std::int64_t count = 0;
      for (const parameter_slot& s : slots)
        if (s.sync_mask == mask) count += s.accumulated.size();
      const std::size_t element = size_of(types.accumulate);
      const std::shared_ptr<buffer> memory = c.allocate(static_cast<std::size_t>(count) * element);
      const auto each = [&](auto move) {
        char* at = static_cast<char*>(memory->data());
        for (parameter_slot& s : slots)
          if (s.sync_mask == mask) {
            move(s.accumulated, at);
            at += s.accumulated.bytes();
          }
      };
      each([&](view v, char* at) { c.ops->copy(c.exec, at, v.data, v.bytes()); });
      collective call{collective_kind::all_reduce, memory->data(), memory->data(), count, types.accumulate};
      call.where = c.where;
    call.queue = &c.exec;
      c.note(call.kind, mask, count * static_cast<std::int64_t>(element));
      any_communicator& group = c.group(mask);
      c.wait(group, group.start(call));
      each([&](view v, char* at) { c.ops->copy(c.exec, v.data, at, v.bytes()); });
    }
  }

  /// Global L2 norm of the accumulated gradients: each element counted once, whatever its placement.
  double gradient_norm(context& c) {
    named_scope scope(c, "gradient_norm");
    c.layer = -1;
    const auto sum = number(c, 0.0);
    const view total = number_view(*sum);
    for (const parameter_slot& s : slots) {
      bool mine = s.trained;
      for (int a = 0; a < c.mesh.atoms; ++a)
        if (!s.storage.at[a].cuts() && c.coordinate[a] != 0) mine = false;
      if (mine) c.ops->sum_of_squares(c.exec, s.accumulated, total);
    }
    const double squares = reduce_number(c, *sum);
    return squares > 0 ? __builtin_sqrt(squares) : squares;
  }

  void zero_gradients(context& c) {
    for (parameter_slot& s : slots) {
      if (!s.trained) continue;
      if (s.gradient->standing) s.gradient->fresh = true;
      else c.ops->fill(c.exec, s.accumulated, 0.0);
      s.has_gradient = false;
    }
  }

  void update(context& c, const adamw_options& options) {
    for (const parameter_unit& u : units)
      if (u.present || u.started) throw std::logic_error(std::string("plait: unit '") + u.name + "' is still gathered while its weights change; drop it first");
    for (parameter_slot& s : slots)
      if (s.trained) c.ops->adamw(c.exec, s.master, s.accumulated, s.moment1, s.moment2, s.current ? s.copy : view{}, options);
  }

  /// Sum over all ranks of the mesh, in rank order.
  static double reduce_scalar(context& c, double value) {
    if (c.mesh.all_axes() == 0) return value;
    return reduce_number(c, *number(c, value));
  }

 private:
  /// One f64 in the backend's memory.
  static std::shared_ptr<buffer> number(context& c, double value) {
    std::shared_ptr<buffer> memory = c.allocate(sizeof value);
    c.ops->copy(c.exec, memory->data(), &value, sizeof value);
    return memory;
  }
  static view number_view(const buffer& memory) {
    view v;
    v.data = memory.data();
    v.type = dtype::f64;
    v.rank = 1;
    v.extent[0] = 1;
    return v;
  }
  static double reduce_number(context& c, const buffer& memory) {
    if (const std::uint32_t mask = c.mesh.all_axes(); mask != 0) {
      collective call{collective_kind::all_reduce, memory.data(), memory.data(), 1, dtype::f64};
      call.where = c.where;
      call.queue = &c.exec;
      c.note(call.kind, mask, static_cast<std::int64_t>(sizeof(double)));
      any_communicator& group = c.group(mask);
      c.wait(group, group.start(call));
    }
    double value = 0;
    c.ops->copy(c.exec, &value, memory.data(), sizeof value);
    return value;
  }

  static view state(context& c, const parameter_slot& s, dtype type, std::shared_ptr<buffer>& memory) {
    view v = s.storage_local;
    v.type = type;
    v = detail::allocate(c, v, memory);
    c.ops->fill(c.exec, v, 0.0);
    return v;
  }

  template <class Slots>
  std::int64_t shard_block(const context& c, const Slots& s, std::uint32_t mask) const {
    std::int64_t most = 0;
    int at[max_atoms];
    for (int m = 0; m < c.mesh.group_size(mask); ++m) {
      detail::member_coordinates(c, mask, m, at);
      const std::int64_t n = detail::volume(detail::holdings(s.storage, s.storage_local, s.global, c.mesh, at), s.rank);
      if (n > most) most = n;
    }
    return most;
  }
  std::vector<std::uint32_t> masks_of(const parameter_unit& u) const {
    std::vector<std::uint32_t> masks;
    for (int i : u.slots) {
      const std::uint32_t mask = slots[static_cast<std::size_t>(i)].gather_mask;
      bool known = mask == 0;
      for (std::uint32_t m : masks) known = known || m == mask;
      if (!known) masks.push_back(mask);
    }
    return masks;
  }

  void start(context& c, int unit) {
    parameter_unit& u = units[static_cast<std::size_t>(unit)];
    if (u.present || u.started) return;
    u.started = true;
    const char* const where = c.where;
    const int layer = c.layer;
    c.where = u.name;
    c.layer = u.layer;
    live_ += u.gathered_bytes;
    if (live_ > peak_) peak_ = live_;
    if (live_ > gathered_bound() && !hold) throw std::logic_error("plait: gathered weights exceed the kept units plus the two largest");
    const std::size_t element = size_of(types.compute);
    for (std::uint32_t mask : masks_of(u)) {
      parameter_unit::in_flight f;
      f.mask = mask;
      std::int64_t payload = 0;
      for (int i : u.slots) {
        const parameter_slot& s = slots[static_cast<std::size_t>(i)];
        if (s.gather_mask != mask) continue;
        f.block += shard_block(c, s, mask);
        payload += s.storage_local.size() * static_cast<std::int64_t>(element);
      }
      f.send = c.allocate(static_cast<std::size_t>(f.block) * element);
      f.receive = c.allocate(static_cast<std::size_t>(f.block * c.mesh.group_size(mask)) * element);
      char* at = static_cast<char*>(f.send->data());
      for (int i : u.slots) {
        const parameter_slot& s = slots[static_cast<std::size_t>(i)];
        if (s.gather_mask != mask) continue;
        view to = s.storage_local;
        to.type = types.compute;
        to.data = at;
        c.ops->cast(c.exec, s.master, to);
        at += static_cast<std::size_t>(shard_block(c, s, mask)) * element;
      }
      collective call{collective_kind::all_gather, f.send->data(), f.receive->data(), f.block, types.compute};
      call.where = c.where;
    call.queue = &c.exec;
      c.note(call.kind, mask, payload);
      f.group = &c.group(mask);
      f.started = f.group->start(call);
      u.flights.push_back(std::move(f));
    }
    c.where = where;
    c.layer = layer;
  }

  void gather(context& c, int unit) {
    parameter_unit& u = units[static_cast<std::size_t>(unit)];
    if (u.present) return;
    start(c, unit);
    const std::size_t element = size_of(types.compute);
    for (int i : u.slots) {
      parameter_slot& s = slots[static_cast<std::size_t>(i)];
      if (s.gather_mask != 0) continue;
      if (s.copy && !std::exchange(s.current, true)) c.ops->cast(c.exec, s.master, s.copy);
      s.cell->data = s.copy ? s.copy.data : s.master.data;
    }
    for (parameter_unit::in_flight& f : u.flights) {
      c.wait(*f.group, f.started);
      const int n = c.mesh.group_size(f.mask);
      std::int64_t offset = 0;
      int at[max_atoms];
      for (int i : u.slots) {
        parameter_slot& s = slots[static_cast<std::size_t>(i)];
        if (s.gather_mask != f.mask) continue;
        const view v = detail::allocate(c, s.compute_local, s.cell->memory);
        s.cell->data = v.data;
        for (int m = 0; m < n; ++m) {
          detail::member_coordinates(c, f.mask, m, at);
          const detail::index_sets theirs = detail::holdings(s.storage, s.storage_local, s.global, c.mesh, at);
          detail::copy_part(c, theirs, theirs, static_cast<char*>(f.receive->data()) + static_cast<std::size_t>(m * f.block + offset) * element,
                            s.compute_held, v.data, s.rank, element);
        }
        offset += shard_block(c, s, f.mask);
      }
    }
    u.flights.clear();
    u.started = false;
    u.present = true;
  }

  void drop(int unit) {
    parameter_unit& u = units[static_cast<std::size_t>(unit)];
    if (!u.present && !u.started) return;
    // A gather that was prefetched for nothing still has to arrive: the other ranks take part in it, too.
    for (parameter_unit::in_flight& f : u.flights) f.group->wait(f.started);
    u.flights.clear();
    u.present = u.started = false;
    live_ -= u.gathered_bytes;
    for (int i : u.slots) {
      parameter_slot& s = slots[static_cast<std::size_t>(i)];
      s.cell->data = nullptr;
      s.cell->memory.reset();
    }
  }

  void reduce_gradients(context& c, int unit) {
    parameter_unit& u = units[static_cast<std::size_t>(unit)];
    named_scope scope(c, u.name);
    c.layer = u.layer;
    for (int i : u.slots) {
      parameter_slot& s = slots[static_cast<std::size_t>(i)];
      if (!s.trained) continue;
      s.has_gradient = s.has_gradient || s.gradient->filled;
      if (s.gather_mask != 0 && !s.gradient->filled) detail::accumulator(c, *s.gradient);  // zeros: this rank had nothing to add
    }
    const std::size_t element = size_of(types.reduce);
    for (std::uint32_t mask : masks_of(u)) {
      const int n = c.mesh.group_size(mask);
      std::int64_t block = 0, payload = 0;
      for (int i : u.slots) {
        const parameter_slot& s = slots[static_cast<std::size_t>(i)];
        if (s.gather_mask != mask) continue;
        block += shard_block(c, s, mask);
        payload += s.compute_local.size() * static_cast<std::int64_t>(element);
      }
      const std::shared_ptr<buffer> send = c.allocate(static_cast<std::size_t>(block * n) * element);
      const std::shared_ptr<buffer> receive = c.allocate(static_cast<std::size_t>(block) * element);
      view all;
      all.data = send->data();
      all.type = types.reduce;
      all.rank = 1;
      all.extent[0] = block * n;
      c.ops->fill(c.exec, all, 0.0);
      std::int64_t offset = 0;
      int at[max_atoms];
      for (int i : u.slots) {
        const parameter_slot& s = slots[static_cast<std::size_t>(i)];
        if (s.gather_mask != mask) continue;
        for (int m = 0; m < n; ++m) {
          detail::member_coordinates(c, mask, m, at);
          const detail::index_sets theirs = detail::holdings(s.storage, s.storage_local, s.global, c.mesh, at);
          detail::copy_part(c, theirs, s.compute_held, s.gradient->local.data, theirs,
                            static_cast<char*>(send->data()) + static_cast<std::size_t>(m * block + offset) * element, s.rank, element);
        }
        offset += shard_block(c, s, mask);
      }
      collective call{collective_kind::reduce_scatter, send->data(), receive->data(), block, types.reduce};
      call.where = c.where;
    call.queue = &c.exec;
      c.note(call.kind, mask, payload);
      any_communicator& group = c.group(mask);
      c.wait(group, group.start(call));
      offset = 0;
      for (int i : u.slots) {
        const parameter_slot& s = slots[static_cast<std::size_t>(i)];
        if (s.gather_mask != mask) continue;
        view part = s.storage_local;
        part.type = types.reduce;
        part.data = static_cast<char*>(receive->data()) + static_cast<std::size_t>(offset) * element;
        c.ops->accumulate(c.exec, part, s.accumulated);
        offset += shard_block(c, s, mask);
      }
    }
    for (int i : u.slots) {
      if (!slots[static_cast<std::size_t>(i)].trained) continue;
      gradient_slot& g = *slots[static_cast<std::size_t>(i)].gradient;
      g.filled = false;
      if (g.standing) continue;
      g.memory.reset();
      g.local.data = nullptr;
    }
  }

  int rows_ = 0;
  std::vector<int> index_;
  std::int64_t live_ = 0, peak_ = 0;
};

}  // namespace plait::inline v0_1
