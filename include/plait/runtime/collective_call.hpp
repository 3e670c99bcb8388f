#pragma once
// One collective over some of the mesh's axes, noted and in the queue's order; and a number of every rank, added up.
#include <memory>

#include "plait/runtime/context.hpp"

namespace plait::inline v0_1 {
namespace detail {

/// Notes and starts a collective over `mask`. `payload`: bytes of this rank's part.
inline ticket begin_collective(context& c, collective call, any_communicator& group, std::uint32_t mask, std::int64_t payload) {
  call.where = c.where;
  call.queue = &c.exec;
  c.note(call.kind, mask, payload);
  return group.start(call);
}
inline void run_collective(context& c, const collective& call, std::uint32_t mask, std::int64_t payload) {
  any_communicator& group = c.group(mask);
  c.wait(group, begin_collective(c, call, group, mask, payload));
}

/// One f64 in the backend's memory: each rank's addend of a sum over all ranks of the mesh, in rank order.
class rank_number {
 public:
  rank_number(context& c, double value) : memory_(c.allocate(sizeof value)) { c.ops->copy(c.exec, memory_->data(), &value, sizeof value); }

  view here() const {
    view v;
    v.data = memory_->data();
    v.type = dtype::f64;
    v.rank = 1;
    v.extent[0] = 1;
    return v;
  }
  /// Adds up in place; the sum, on the host.
  double sum(context& c) const {
    if (const std::uint32_t mask = c.mesh.all_axes(); mask != 0)
      run_collective(c, {collective_kind::all_reduce, memory_->data(), memory_->data(), 1, dtype::f64}, mask, static_cast<std::int64_t>(sizeof(double)));
    double value = 0;
    c.ops->copy(c.exec, &value, memory_->data(), sizeof value);
    return value;
  }

 private:
  std::shared_ptr<buffer> memory_;
};

}  // namespace detail

/// Sum of a host number over all ranks of the mesh, in rank order; all ranks call it together.
inline double sum_over_ranks(context& c, double value) { return c.mesh.all_axes() == 0 ? value : detail::rank_number(c, value).sum(c); }

}  // namespace plait::inline v0_1
