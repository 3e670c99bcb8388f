#pragma once
// Parameters at run time: each has a storage shard (master weight and, to train, gradient accumulator and moments) and, while its unit
// is gathered, compute memory. FSDP lives here and is nothing but the pair of layouts: gather = storage -> compute, coalesced per unit
// and rank group; its adjoint reduce-scatters the gradients.
#include <utility>
#include <vector>

#include "plait/plan/resolve.hpp"
#include "plait/runtime/collective_call.hpp"
#include "plait/train/gather_blocks.hpp"
#include "plait/train/parameter_slot.hpp"

namespace plait::inline v0_1 {

class parameter_store {
 public:
  precision_types types;
  store_use use = store_use::training;
  std::vector<parameter_slot> slots;
  std::vector<parameter_unit> units;
  bool prefetch = true;
  bool hold = false;  // weights stay gathered after a forward without a tape: generation reads the same ones for every token

  parameter_store() = default;
  parameter_store(const parameter_store&) = delete;
  parameter_store& operator=(const parameter_store&) = delete;
  ~parameter_store() {
    for (parameter_unit& u : units)
      for (gather_group& g : u.groups)
        if (g.under_way != nullptr) g.under_way->cancel();
  }

  /// A row's parameter in a layer, -1 for rows without one.
  parameter_slot& slot(int row, int layer) {
    const int at = find(row, layer);
    if (at < 0)
      throw std::out_of_range("plait: row " + std::to_string(row) + " of the parameter table has no parameter in layer " + std::to_string(layer) +
                              " (-1: none named); say which layer, of a kind that has the row");
    return slots[static_cast<std::size_t>(at)];
  }
  /// Its number in `slots`, -1 where there is none.
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

  /// Registers a parameter and allocates what is stored of it: zeros.
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
    if (s.trained && use == store_use::training) {
      s.moment1 = state(c, s, types.moment, s.memory[1]);
      s.moment2 = state(c, s, types.moment, s.memory[2]);
    }
    if (s.trained && use != store_use::inference) {
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
    if (whole_) throw std::logic_error("plait: these gradients are whole already, and would be counted once a rank; zero_gradients begins the next step");
    named_scope scope(c, "gradients");
    c.layer = -1;
    for (const parameter_slot& s : slots)
      if (s.gradient != nullptr && s.gradient->filled)
        throw std::logic_error("plait: the gradient of " + s.name + " was not reduced over its unit's ranks: set context::recording before enter_unit");
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
      detail::run_collective(c, {collective_kind::all_reduce, memory->data(), memory->data(), count, types.accumulate}, mask,
                             count * static_cast<std::int64_t>(element));
      each([&](view v, char* at) { c.ops->copy(c.exec, v.data, at, v.bytes()); });
    }
    pending_ = false, whole_ = true;
  }

  /// Global L2 norm of the accumulated gradients: each element counted once, whatever its placement.
  double gradient_norm(context& c) {
    require_whole();
    named_scope scope(c, "gradient_norm");
    c.layer = -1;
    const detail::rank_number sum(c, 0.0);
    for (const parameter_slot& s : slots) {
      bool mine = s.trained;
      for (int a = 0; a < c.mesh.atoms; ++a)
        if (!s.storage.at[a].cuts() && c.coordinate[a] != 0) mine = false;
      if (mine) c.ops->sum_of_squares(c.exec, s.accumulated, sum.here());
    }
    const double squares = sum.sum(c);
    return squares > 0 ? __builtin_sqrt(squares) : squares;
  }

  void zero_gradients(context& c) {
    if (use == store_use::inference) throw std::logic_error("plait: a store for inference has no gradients; build it with store_use::gradients or training");
    pending_ = whole_ = false;
    for (parameter_slot& s : slots) {
      if (!s.trained) continue;
      if (s.gradient->standing) s.gradient->fresh = true;
      else c.ops->fill(c.exec, s.accumulated, 0.0);
      s.has_gradient = false;
    }
  }

  void update(context& c, const adamw_options& options) {
    if (use != store_use::training) throw std::logic_error("plait: this store has no moments; build it with store_use::training");
    for (const parameter_unit& u : units)
      if (u.present || u.started) throw std::logic_error(std::string("plait: unit '") + u.name + "' is still gathered while its weights change; drop it first");
    require_whole();
    for (parameter_slot& s : slots)
      if (s.trained) c.ops->adamw(c.exec, s.master, s.accumulated, s.moment1, s.moment2, s.current ? s.copy : view{}, options);
  }

 private:
  void require_whole() const {
    if (pending_) throw std::logic_error("plait[gradient-not-synchronised]: gradients may still hold pending sums; call synchronise_gradients before gradient_norm and update");
  }

  static view state(context& c, const parameter_slot& s, dtype type, std::shared_ptr<buffer>& memory) {
    view v = s.storage_local;
    v.type = type;
    v = detail::allocate(c, v, memory);
    c.ops->fill(c.exec, v, 0.0);
    return v;
  }

  parameter_slot& at(int i) { return slots[static_cast<std::size_t>(i)]; }
  parameter_slot& of(const gather_group::part& p) { return at(p.slot); }

  std::vector<gather_group>& groups_of(const context& c, parameter_unit& u) {
    if (!std::exchange(u.grouped, true)) u.groups = detail::gather_groups_of(c, u.slots, slots);
    return u.groups;
  }

  void start(context& c, int unit) {
    parameter_unit& u = units[static_cast<std::size_t>(unit)];
    if (u.present || u.started) return;
    u.started = true;
    named_scope scope(c, u.name);
    c.layer = u.layer;
    live_ += u.gathered_bytes;
    if (live_ > peak_) peak_ = live_;
    if (live_ > gathered_bound() && !hold) throw std::logic_error("plait: gathered weights exceed the kept units plus the two largest");
    const std::size_t element = size_of(types.compute);
    for (gather_group& g : groups_of(c, u)) {
      g.send = c.allocate(static_cast<std::size_t>(g.block) * element);
      g.receive = c.allocate(static_cast<std::size_t>(g.block * c.mesh.group_size(g.mask)) * element);
      for (const gather_group::part& p : g.parts) {
        view to = of(p).storage_local;
        to.type = types.compute;
        to.data = detail::place_in_blocks(*g.send, g, p, 0, element);
        c.ops->cast(c.exec, of(p).master, to);
      }
      any_communicator& group = c.group(g.mask);
      g.started = detail::begin_collective(c, {collective_kind::all_gather, g.send->data(), g.receive->data(), g.block, types.compute}, group, g.mask,
                        g.stored * static_cast<std::int64_t>(element));
      g.under_way = &group;
    }
  }

  void gather(context& c, int unit) {
    parameter_unit& u = units[static_cast<std::size_t>(unit)];
    if (u.present) return;
    start(c, unit);
    const std::size_t element = size_of(types.compute);
    for (int i : u.slots) {
      parameter_slot& s = at(i);
      if (s.gather_mask != 0) continue;
      if (s.copy && !std::exchange(s.current, true)) c.ops->cast(c.exec, s.master, s.copy);
      s.cell->data = s.copy ? s.copy.data : s.master.data;
    }
    for (gather_group& g : u.groups) {
      c.wait(*std::exchange(g.under_way, nullptr), g.started);
      for (const gather_group::part& p : g.parts) {
        parameter_slot& s = of(p);
        const view v = detail::allocate(c, s.compute_local, s.cell->memory);
        s.cell->data = v.data;
        detail::copy_parts<false>(c, s, g, p, *g.receive, v.data, element);
      }
      g.send.reset();
      g.receive.reset();
    }
    u.started = false;
    u.present = true;
  }

  void drop(int unit) {
    parameter_unit& u = units[static_cast<std::size_t>(unit)];
    if (!u.present && !u.started) return;
    // A gather that was prefetched for nothing still has to arrive: the other ranks take part in it, too.
    for (gather_group& g : u.groups) {
      if (g.under_way == nullptr) continue;
      std::exchange(g.under_way, nullptr)->wait(g.started);
      g.send.reset();
      g.receive.reset();
    }
    u.present = u.started = false;
    live_ -= u.gathered_bytes;
    for (int i : u.slots) {
      parameter_slot& s = at(i);
      s.cell->data = nullptr;
      s.cell->memory.reset();
    }
  }

  void reduce_gradients(context& c, int unit) {
    pending_ = true;
    parameter_unit& u = units[static_cast<std::size_t>(unit)];
    named_scope scope(c, u.name);
    c.layer = u.layer;
    for (int i : u.slots) {
      parameter_slot& s = at(i);
      if (!s.trained) continue;
      s.has_gradient = s.has_gradient || s.gradient->filled;
      if (s.gather_mask != 0 && !s.gradient->filled) detail::accumulator(c, *s.gradient);  // zeros: this rank had nothing to add
    }
    const std::size_t element = size_of(types.reduce);
    for (const gather_group& g : groups_of(c, u)) {
      const int n = c.mesh.group_size(g.mask);
      const std::shared_ptr<buffer> send = c.allocate(static_cast<std::size_t>(g.block * n) * element);
      const std::shared_ptr<buffer> receive = c.allocate(static_cast<std::size_t>(g.block) * element);
      if (g.padded) {  // sums of what nobody reads, but of no stray NaN
        view all;
        all.data = send->data();
        all.type = types.reduce;
        all.rank = 1;
        all.extent[0] = g.block * n;
        c.ops->fill(c.exec, all, 0.0);
      }
      for (const gather_group::part& p : g.parts) detail::copy_parts<true>(c, of(p), g, p, *send, of(p).gradient->local.data, element);
      detail::run_collective(c, {collective_kind::reduce_scatter, send->data(), receive->data(), g.block, types.reduce}, g.mask,
                             g.whole * static_cast<std::int64_t>(element));
      for (const gather_group::part& p : g.parts) {
        view part = of(p).storage_local;
        part.type = types.reduce;
        part.data = detail::place_in_blocks(*receive, g, p, 0, element);
        c.ops->accumulate(c.exec, part, of(p).accumulated);
      }
    }
    for (int i : u.slots) {
      if (!at(i).trained) continue;
      gradient_slot& g = *at(i).gradient;
      g.filled = false;
      if (g.standing) continue;
      g.memory.reset();
      g.local.data = nullptr;
    }
  }

  int rows_ = 0;
  std::vector<int> index_;
  std::int64_t live_ = 0, peak_ = 0;
  bool pending_ = false, whole_ = false;  // gradients came, and have been made whole, since zero_gradients
};

}  // namespace plait::inline v0_1
