#pragma once
// Redistribution at run time, stage by stage (tensor/stages.hpp). Not a template on anything; index sets say which boxes lie where.
#include <array>

#include "plait/runtime/array.hpp"
#include "plait/tensor/stages.hpp"

namespace plait::inline v0_1 {
namespace detail {

/// The stages of from -> to. Axes of one run-time rank move for free.
inline stage_list stages_of(const layout_value& from, const layout_value& to, const mesh_shape& mesh) {
  const stage_planner planner(from, to, mesh.size);
  stage_list list;
  if (!planner.legal())
    throw std::logic_error("plait[no-single-collective]: no single collective joins these placements; go through Replicate");
  if (!planner.plan(list))
    throw std::logic_error("plait[not-innermost]: an axis that moves is not the innermost cut of its dim; redistribute the inner axis first");
  return list;
}

/// Offset of global index `at` in the concatenation of `held`.
inline std::int64_t offset_in(const index_set& held, std::int64_t at) {
  std::int64_t offset = 0;
  for (int i = 0; i < held.count; ++i) {
    if (at >= held.range[i].begin && at < held.range[i].end) return offset + at - held.range[i].begin;
    offset += held.range[i].size();
  }
  return offset;
}

using index_sets = std::array<index_set, max_rank>;

inline index_sets holdings(const layout_value& layout, const view& like, const std::int64_t* global, const mesh_shape& mesh,
                           const int* coordinate) {
  index_sets s;
  for (int d = 0; d < like.rank; ++d) s[static_cast<std::size_t>(d)] = held_indices(layout, d, global[d], mesh.size, coordinate);
  return s;
}
inline index_set intersection(const index_set& a, const index_set& b) {
  index_set out;
  for (int i = 0; i < a.count; ++i)
    for (int j = 0; j < b.count; ++j) {
      const std::int64_t low = a.range[i].begin > b.range[j].begin ? a.range[i].begin : b.range[j].begin;
      const std::int64_t high = a.range[i].end < b.range[j].end ? a.range[i].end : b.range[j].end;
      if (low < high) {
        // ascending in `a`'s local order; ranges are kept apart so that each lies in one range of both
        if (out.count < max_ranges) out.range[out.count++] = {low, high};
      }
    }
  return out;
}
inline std::int64_t volume(const index_sets& s, int rank) {
  std::int64_t n = 1;
  for (int d = 0; d < rank; ++d) n *= s[static_cast<std::size_t>(d)].size();
  return n;
}

/// Copies the elements of `part` from an array holding `from_held` to one holding `to_held` (each packed in its own order).
inline void copy_part(context& c, const index_sets& part, const index_sets& from_held, const void* from, const index_sets& to_held,
                      void* to, int rank, std::size_t element) {
  if (volume(part, rank) == 0) return;
  std::int64_t from_extent[max_rank] = {}, to_extent[max_rank] = {}, from_start[max_rank] = {}, to_start[max_rank] = {}, count[max_rank] = {};
  for (int d = 0; d < rank; ++d) {
    from_extent[d] = from_held[static_cast<std::size_t>(d)].size();
    to_extent[d] = to_held[static_cast<std::size_t>(d)].size();
  }
  int at[max_rank] = {};
  while (true) {
    for (int d = 0; d < rank; ++d) {
      const std::size_t s = static_cast<std::size_t>(d);
      const index_range r = part[s].range[at[d]];
      from_start[d] = offset_in(from_held[s], r.begin);
      to_start[d] = offset_in(to_held[s], r.begin);
      count[d] = r.size();
    }
    c.ops->copy_box(c.exec, to, to_extent, to_start, from, from_extent, from_start, count, rank, element);
    int d = rank - 1;
    while (d >= 0 && ++at[d] == part[static_cast<std::size_t>(d)].count) at[d--] = 0;
    if (d < 0) return;
  }
}

/// Is `part` of `held` one contiguous stretch starting at element `offset`?
inline bool contiguous_at(const index_sets& part, const index_sets& held, int rank, std::int64_t offset) {
  std::int64_t stride = 1, at = 0;
  bool outer_single = false;
  for (int d = rank - 1; d >= 0; --d) {
    const std::size_t s = static_cast<std::size_t>(d);
    if (part[s].count != 1) return false;
    const std::int64_t n = part[s].range[0].size(), all = held[s].size();
    if (outer_single && n != 1) return false;
    if (n != all) outer_single = true;
    at += stride * offset_in(held[s], part[s].range[0].begin);
    stride *= all;
  }
  return at == offset;
}

/// Coordinates of member `m` of my group over `mask`.
inline void member_coordinates(const context& c, std::uint32_t mask, int m, int* out) {
  for (int a = c.mesh.atoms - 1; a >= 0; --a) {
    out[a] = c.coordinate[a];
    if (mask >> a & 1u) {
      out[a] = m % c.mesh.size[a];
      m /= c.mesh.size[a];
    }
  }
}

/// One redistribution in flight.
class transfer {
 public:
  transfer(context& c, view local, std::shared_ptr<buffer> memory, const std::int64_t* global, const layout_value& from,
           const layout_value& to)
      : local_(local), memory_(std::move(memory)), stages_(stages_of(from, to, c.mesh)) {
    for (int d = 0; d < local.rank; ++d) global_[d] = global[d];
    if (stages_.count > 0)
      for (int d = 0; d < local.rank; ++d)
        if (held_indices(from, d, global[d], c.mesh.size, c.coordinate).size() != local.extent[d])
          throw std::logic_error("plait: a rank holds other extents than its layout says (an uneven cut was reshaped, or rows of a local region escaped)");
    advance(c);
  }
  transfer(const transfer&) = delete;
  transfer& operator=(const transfer&) = delete;
  transfer(transfer&& other) noexcept = default;
  ~transfer() {
    if (in_flight_ && group_ != nullptr && (memory_ || out_memory_)) group_->cancel();
  }
  /// Finishes; the result is local() and memory().
  void finish(context& c) {
    while (next_ <= stages_.count && in_flight_) {
      complete(c);
      advance(c);
    }
  }
  view local() const { return local_; }
  const std::shared_ptr<buffer>& memory() const { return memory_; }

 private:
  const stage& current() const { return stages_.at[static_cast<std::size_t>(next_ - 1)]; }

  /// Runs local stages until a collective has been started or nothing is left.
  void advance(context& c) {
    in_flight_ = false;
    while (next_ < stages_.count && !in_flight_) {
      ++next_;
      switch (current().kind) {
        case move::slice: slice(c); break;
        case move::pad: pad(c); break;
        case move::root: root(c); break;
        case move::exchange: throw std::logic_error("plait: rows of a local region move through runtime::exchange, which knows their counts");
        default: start(c); in_flight_ = true;
      }
    }
    if (!in_flight_) next_ = stages_.count + 1;
  }
  index_sets held(const context& c, const layout_value& layout, const int* coordinate) const {
    return holdings(layout, local_, global_, c.mesh, coordinate);
  }
  view next_view(context& c, const index_sets& held_after, std::shared_ptr<buffer>& memory) const {
    view v = local_;
    for (int d = 0; d < v.rank; ++d) v.extent[d] = held_after[static_cast<std::size_t>(d)].size();
    return allocate(c, v, memory);
  }
  void slice(context& c) {
    const index_sets before = held(c, current().before, c.coordinate), after = held(c, current().after, c.coordinate);
    std::shared_ptr<buffer> memory;
    const view out = next_view(c, after, memory);
    copy_part(c, after, before, local_.data, after, out.data, local_.rank, size_of(local_.type));
    local_ = out;
    memory_ = std::move(memory);
  }
  void pad(context& c) {
    const index_sets before = held(c, current().before, c.coordinate), after = held(c, current().after, c.coordinate);
    std::shared_ptr<buffer> memory;
    const view out = next_view(c, after, memory);
    c.ops->fill(c.exec, out, 0.0);
    copy_part(c, before, before, local_.data, after, out.data, local_.rank, size_of(local_.type));
    local_ = out;
    memory_ = std::move(memory);
  }
  void root(context& c) {
    for (int a = 0; a < c.mesh.atoms; ++a)
      if ((current().mask >> a & 1u) && c.coordinate[a] != 0) {
        std::shared_ptr<buffer> memory;
        const view out = allocate(c, local_, memory);
        c.ops->fill(c.exec, out, 0.0);
        local_ = out;
        memory_ = std::move(memory);
        return;
      }
  }
  void start(context& c) {
    const stage& s = current();
    const int n = c.mesh.group_size(s.mask);
    const int rank = local_.rank;
    const std::size_t element = size_of(local_.type);
    collective call;
    call.type = local_.type;
    call.where = c.where;
    call.queue = &c.exec;
    collective_kind kind = collective_kind::all_reduce;
    direct_ = true;
    if (s.kind == move::all_reduce || s.kind == move::all_reduce_max) {
      out_ = allocate(c, local_, out_memory_);
      call.in = local_.data;
      call.out = out_.data;
      call.count = local_.size();
      call.maximum = s.kind == move::all_reduce_max;
    } else {
      const index_sets before = held(c, s.before, c.coordinate), after = held(c, s.after, c.coordinate);
      out_ = next_view(c, after, out_memory_);
      std::int64_t block = 0, blocks_same = 1;
      int at[max_atoms];
      for (int m = 0; m < n; ++m) {
        member_coordinates(c, s.mask, m, at);
        std::int64_t size = 0;
        if (s.kind == move::all_gather) size = volume(held(c, s.before, at), rank);
        if (s.kind == move::reduce_scatter) size = volume(held(c, s.after, at), rank);
        if (s.kind == move::all_to_all) size = pair_maximum(c, s, at, n);
        if (m > 0 && size != block) blocks_same = 0;
        if (size > block) block = size;
      }
      call.count = block;
      const std::size_t bytes = static_cast<std::size_t>(block) * element;
      if (s.kind == move::all_gather) {
        kind = collective_kind::all_gather;
        direct_ = blocks_same != 0;
        for (int m = 0; m < n && direct_; ++m) {
          member_coordinates(c, s.mask, m, at);
          direct_ = contiguous_at(held(c, s.before, at), after, rank, m * block);
        }
        call.in = local_.data;
        call.out = out_.data;
        if (!direct_) {
          if (local_.size() != block) {
            send_ = c.allocate(bytes);
            c.ops->copy(c.exec, send_->data(), local_.data, local_.bytes());
            call.in = send_->data();
          }
          receive_ = c.allocate(bytes * static_cast<std::size_t>(n));
          call.out = receive_->data();
        }
      } else {
        kind = s.kind == move::reduce_scatter ? collective_kind::reduce_scatter : collective_kind::all_to_all;
        const bool scatter = s.kind == move::reduce_scatter;
        bool plain = scatter && blocks_same != 0;
        for (int m = 0; m < n && plain; ++m) {
          member_coordinates(c, s.mask, m, at);
          plain = contiguous_at(held(c, s.after, at), before, rank, m * block);
        }
        call.in = local_.data;
        if (!plain) {
          send_ = c.allocate(bytes * static_cast<std::size_t>(n));
          view all = local_;
          all.rank = 1;
          all.extent[0] = block * n;
          all.data = send_->data();
          c.ops->fill(c.exec, all, 0.0);
          for (int m = 0; m < n; ++m) {
            member_coordinates(c, s.mask, m, at);
            index_sets part = held(c, s.after, at);
            if (!scatter) part = meet(before, part, rank);
            index_sets packed = part;
            copy_part(c, part, before, local_.data, packed, static_cast<char*>(send_->data()) + bytes * static_cast<std::size_t>(m),
                      rank, element);
          }
          call.in = send_->data();
        }
        direct_ = scatter && out_.size() == block;
        call.out = out_.data;
        if (!direct_) {
          receive_ = c.allocate(bytes * (scatter ? 1u : static_cast<std::size_t>(n)));
          call.out = receive_->data();
        }
      }
      block_bytes_ = bytes;
    }
    call.kind = kind;
    c.note(kind, s.mask, static_cast<std::int64_t>(local_.bytes()));
    group_ = &c.group(s.mask);
    ticket_ = group_->start(call);
  }
  void complete(context& c) {
    const stage& s = current();
    c.wait(*group_, ticket_);
    const int n = c.mesh.group_size(s.mask);
    const int rank = local_.rank;
    const std::size_t element = size_of(local_.type);
    if (!direct_) {
      const index_sets after = held(c, s.after, c.coordinate);
      const char* from = static_cast<const char*>(receive_->data());
      if (s.kind == move::reduce_scatter) {
        c.ops->copy(c.exec, out_.data, from, out_.bytes());
      } else {
        int at[max_atoms];
        for (int m = 0; m < n; ++m) {
          member_coordinates(c, s.mask, m, at);
          const index_sets theirs = held(c, s.before, at);
          const index_sets part = s.kind == move::all_gather ? theirs : meet(theirs, after, rank);
          copy_part(c, part, part, from + block_bytes_ * static_cast<std::size_t>(m), after, out_.data, rank, element);
        }
      }
    }
    local_ = out_;
    memory_ = std::move(out_memory_);
    send_.reset();
    receive_.reset();
  }
  static index_sets meet(const index_sets& a, const index_sets& b, int rank) {
    index_sets out;
    for (std::size_t d = 0; d < static_cast<std::size_t>(rank); ++d) out[d] = intersection(a[d], b[d]);
    return out;
  }
  std::int64_t pair_maximum(const context& c, const stage& s, const int* from, int n) const {
    std::int64_t most = 0;
    const index_sets theirs = held(c, s.before, from);
    int at[max_atoms];
    for (int m = 0; m < n; ++m) {
      member_coordinates(c, s.mask, m, at);
      const std::int64_t size = volume(meet(theirs, held(c, s.after, at), local_.rank), local_.rank);
      if (size > most) most = size;
    }
    return most;
  }

  view local_{}, out_{};
  std::shared_ptr<buffer> memory_, out_memory_, send_, receive_;
  std::int64_t global_[max_rank] = {};
  stage_list stages_;
  int next_ = 0;  // stages begun
  bool in_flight_ = false, direct_ = true;
  std::size_t block_bytes_ = 0;
  any_communicator* group_ = nullptr;
  ticket ticket_{};
};

/// Moves `from` -> `to` without recording anything.
inline void move_layout(context& c, view& local, std::shared_ptr<buffer>& memory, const std::int64_t* global, const layout_value& from,
                        const layout_value& to) {
  transfer t(c, local, memory, global, from, to);
  t.finish(c);
  local = t.local();
  memory = t.memory();
}

/// Leaves on the tape the derived backward of x (from) -> y (to).
inline void record_adjoint(context& c, const array& x, array& y) {
  if (!wants_gradient(c, x)) return;
  track(y);
  struct extents_copy {
    std::int64_t of[max_rank];
  } global{};
  for (int d = 0; d < x.rank(); ++d) global.of[d] = x.global[d];
  c.recording->push([x_slot = x.gradient, y_slot = y.gradient, global, from = x.layout, to = y.layout, where = c.where, layer = c.layer](context& b) {
    if (!y_slot->filled) return;
    named_scope scope(b, where);
    b.layer = layer;
    view g = y_slot->local;
    std::shared_ptr<buffer> memory = y_slot->memory;
    move_layout(b, g, memory, global.of, grad_of(to), grad_of(from));
    contribute(b, x_slot, g, memory);
  });
}

}  // namespace detail

namespace runtime {

inline detail::transfer start_redistribute(context& c, const array& x, const layout_value& to) {
  return detail::transfer(c, x.now(), x.cell != nullptr ? x.cell->memory : x.memory, x.global, x.layout, to);
}
/// What x has become when its transfer has ended.
inline array finish_redistribute(context& c, const array& x, detail::transfer& t, const layout_value& to) {
  t.finish(c);
  array y = x;
  y.layout = to;
  y.gradient = nullptr;
  if (x.cell == nullptr || t.local().data != x.cell->data) {  // else it is still the parameter's memory, which comes and goes
    y.local = t.local();
    y.memory = t.memory();
    y.cell = nullptr;
  }
  detail::record_adjoint(c, x, y);
  return y;
}
inline array redistribute(context& c, const array& x, const layout_value& to) {
  detail::transfer t = start_redistribute(c, x, to);
  return finish_redistribute(c, x, t, to);
}

}  // namespace runtime
}  // namespace plait::inline v0_1
