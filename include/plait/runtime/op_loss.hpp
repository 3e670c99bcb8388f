#pragma once
// Run-time halves of vocabulary-parallel cross entropy and the load-balancing loss.
#include "plait/runtime/op_dense.hpp"

namespace plait::inline v0_1::runtime {

/// Maximum of each row over the local columns; no gradient (the loss does not depend on it).
inline array row_maximum(context& c, const array& logits, const layout_value& layout) {
  array m = make_array(c, statistic_of(logits.type()), logits.rank() - 1, logits.local.extent, logits.global, layout);
  c.ops->row_maximum(c.exec, matrix(logits.local), m.local);
  return m;
}

/// [2, ...]: this rank's addends of the softmax sum and of the target's logit. `first`: first local column of the vocabulary.
inline array cross_entropy_parts(context& c, const array& logits, const array& maximum, const array& labels, std::int64_t first,
                                 const layout_value& layout) {
  std::int64_t local[max_rank] = {2}, global[max_rank] = {2};
  for (int d = 0; d + 1 < logits.rank(); ++d) local[d + 1] = logits.local.extent[d], global[d + 1] = logits.global[d];
  array parts = make_array(c, statistic_of(logits.type()), logits.rank(), local, global, layout);
  const std::int64_t vocabulary = logits.global[logits.rank() - 1];
  const auto two_rows = [](view v) {
    view m = v;
    m.rank = 2;
    m.extent[1] = v.size() / 2;
    return m;
  };
  c.ops->cross_entropy_parts(c.exec, matrix(logits.local), maximum.local, labels.local, first, vocabulary, two_rows(parts.local));
  if (!wants_gradient(c, logits)) return parts;
  track(parts);
  c.recording->push([logits, maximum, labels, first, two_rows, dparts = parts.gradient](context& b) {
    if (!dparts->filled) return;
    std::shared_ptr<buffer> memory = logits.memory.use_count() == 1 ? logits.memory : nullptr;  // nobody else reads them: overwritten
    const view d = memory != nullptr ? logits.local : detail::allocate(b, logits.local, memory);
    b.ops->cross_entropy_parts_gradient(b.exec, matrix(logits.local), maximum.local, labels.local, first, two_rows(dparts->local), matrix(d));
    contribute(b, logits.gradient, d, memory);
  });
  return parts;
}

/// factor * sum over local valid rows of the rows' losses: one number.
inline array cross_entropy_sum(context& c, const array& parts, const array& labels, double factor, const layout_value& layout) {
  const std::int64_t one[1] = {1};
  array loss = make_array(c, parts.type(), 1, one, one, layout);
  const auto two_rows = [](view v) {
    view m = v;
    m.rank = 2;
    m.extent[1] = v.size() / 2;
    return m;
  };
  c.ops->cross_entropy_sum(c.exec, two_rows(parts.local), labels.local, factor, loss.local);
  if (!wants_gradient(c, parts)) return loss;
  track(loss);
  c.recording->push([parts, labels, factor, two_rows, dloss = loss.gradient](context& b) {
    if (!dloss->filled) return;
    contribute(b, parts.gradient, [&](view d) {
      b.ops->cross_entropy_sum_gradient(b.exec, two_rows(parts.local), labels.local, factor, dloss->local, two_rows(d));
    });
  });
  return loss;
}

/// Switch-type balancing loss from statistics [2, E] summed over layers and all valid tokens:
/// E / rows^2 * sum_e choices[e] * probability_sum[e], rows = routed rows (valid tokens x sparse layers).
inline array balance(context& c, const array& statistics, double rows, const layout_value& layout) {
  const std::int64_t one[1] = {1};
  array loss = make_array(c, statistics.type(), 1, one, one, layout);
  const double factor = rows > 0 ? static_cast<double>(statistics.global[1]) / (rows * rows) : 0.0;
  c.ops->balance(c.exec, statistics.local, factor, loss.local);
  if (!wants_gradient(c, statistics)) return loss;
  track(loss);
  c.recording->push([statistics, factor, dloss = loss.gradient](context& b) {
    if (!dloss->filled) return;
    contribute(b, statistics.gradient, [&](view d) { b.ops->balance_gradient(b.exec, statistics.local, factor, dloss->local, d); });
  });
  return loss;
}

}  // namespace plait::inline v0_1::runtime
