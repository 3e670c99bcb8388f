#pragma once
// Run-time halves of routing, dispatch within a rank, grouped linear and combine.
#include "plait/runtime/op_dense.hpp"

namespace plait::inline v0_1::runtime {

/// What a router decided for its tokens: probabilities [T,E], ids [T,k], scores [T,k].
struct routing_arrays {
  array probabilities, ids, scores;
};

/// `bias`: added to the probabilities for the choice alone; null where there is none.
inline routing_arrays route(context& c, const array& logits, const array* bias, std::int64_t k, const router_options& options,
                            const layout_value& layout) {
  const std::int64_t tokens = logits.local.rows(), experts = logits.local.columns();
  const std::int64_t chosen[2] = {tokens, k}, all[2] = {tokens, experts};
  routing_arrays r;
  r.probabilities = make_array(c, statistic_of(logits.type()), 2, all, all, layout);
  r.ids = make_array(c, dtype::i32, 2, chosen, chosen, layout);
  r.scores = make_array(c, logits.type(), 2, chosen, chosen, layout);
  c.ops->router(c.exec, matrix(logits.local), bias != nullptr ? bias->now() : view{}, options, r.probabilities.local, r.ids.local,
                r.scores.local);
  if (!wants_gradient(c, logits)) return r;
  track(r.scores);
  array read;  // logits are kept for the backward only where it reads them
  if (options.scoring == router_scoring::sparsemixer) read = logits;
  c.recording->push([slot = logits.gradient, read, r_probabilities = r.probabilities, r_ids = r.ids, options, ds = r.scores.gradient](context& b) {
    if (!ds->filled) return;
    contribute(b, slot, [&](view d) {
      b.ops->router_gradient(b.exec, read.local.data != nullptr ? matrix(read.local) : view{}, r_probabilities.local, r_ids.local, ds->local,
                             options, matrix(d));
    });
  });
  return r;
}

/// Which slot holds which (token, choice) pair of the local experts.
struct dispatch_arrays {
  array rows, offsets, pair_of_slot, slot_of_pair;
};

/// `scores` [T, k]: what each row is multiplied by; null: nothing.
inline dispatch_arrays dispatch(context& c, const array& x, const array& ids, const array* scores, std::int64_t first,
                                std::int64_t local_experts, const layout_value& layout) {
  const std::int64_t pairs[1] = {ids.local.size()}, ends[1] = {local_experts + 1};
  const std::int64_t rows[2] = {ids.local.size(), x.local.columns()};
  const std::int64_t k = ids.local.columns();
  dispatch_arrays d;
  d.offsets = make_array(c, dtype::i32, 1, ends, ends, layout);
  d.pair_of_slot = make_array(c, dtype::i32, 1, pairs, pairs, layout);
  d.slot_of_pair = make_array(c, dtype::i32, 1, pairs, pairs, layout);
  c.ops->dispatch_plan(c.exec, ids.local, first, local_experts, d.offsets.local, d.pair_of_slot.local, d.slot_of_pair.local);
  d.rows = make_array(c, x.type(), 2, rows, rows, layout);
  d.rows.global[1] = x.global[x.rank() - 1];
  if (scores != nullptr) {  // gathering weighted rows and combining them are each other's gradients
    c.ops->combine_gradient(c.exec, matrix(x.local), d.rows.local, scores->local, d.slot_of_pair.local, d.rows.local, view{});
    if (!wants_gradient(c, x) && !wants_gradient(c, *scores)) return d;
    track(d.rows);
    c.recording->push([x, weights = *scores, slot_of_pair = d.slot_of_pair, drows = d.rows.gradient](context& b) {
      if (!drows->filled) return;
      contribute(b, x.gradient, [&](view dx) { b.ops->combine(b.exec, drows->local, weights.local, slot_of_pair.local, matrix(dx)); });
      contribute(b, weights.gradient, [&](view dw) {
        b.ops->combine_gradient(b.exec, matrix(x.local), drows->local, weights.local, slot_of_pair.local, view{}, dw);
      });
    });
    return d;
  }
  c.ops->gather_rows(c.exec, matrix(x.local), k, d.pair_of_slot.local, d.offsets.local, d.rows.local);
  if (!wants_gradient(c, x)) return d;
  track(d.rows);
  c.recording->push([slot = x.gradient, k, slot_of_pair = d.slot_of_pair, drows = d.rows.gradient](context& b) {
    if (!drows->filled) return;
    contribute(b, slot, [&](view dx) { b.ops->gather_rows_gradient(b.exec, drows->local, k, slot_of_pair.local, matrix(dx)); });
  });
  return d;
}

/// w [E, out, in] or, transposed, [E, in, out].
inline array grouped_linear(context& c, const array& rows, const array& w, bool transposed, const array& offsets, const layout_value& layout) {
  const int out = transposed ? 2 : 1;
  const std::int64_t local[2] = {rows.local.extent[0], w.local.extent[out]}, global[2] = {rows.global[0], w.global[out]};
  array y = make_array(c, rows.type(), 2, local, global, layout);
  c.ops->grouped_matmul(c.exec, rows.local, w.now(), transposed, offsets.local, y.local);
  if (!wants_gradient(c, rows) && !wants_gradient(c, w)) return y;
  track(y);
  c.recording->push([rows, w, transposed, offsets, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    contribute(b, rows.gradient, [&](view dx) { b.ops->grouped_input_gradient(b.exec, dy->local, w.now(), transposed, offsets.local, dx); });
    if (w.gradient == nullptr) return;
    const auto [dw, add] = addend(b, *w.gradient);
    b.ops->grouped_weight_gradient(b.exec, rows.local, dy->local, transposed, offsets.local, dw, add);
  });
  return y;
}

/// rows + bias [E, out] of each row's expert.
inline array expert_bias(context& c, const array& rows, const array& bias, const array& offsets, const layout_value& layout) {
  array y = make_array(c, rows.type(), 2, rows.local.extent, rows.global, layout);
  c.ops->expert_bias(c.exec, rows.local, bias.now(), offsets.local, y.local);
  if (!wants_gradient(c, rows) && !wants_gradient(c, bias)) return y;
  track(y);
  c.recording->push([rows_slot = rows.gradient, bias_slot = bias.gradient, offsets, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    contribute(b, rows_slot, dy->local, dy->memory);
    if (bias_slot != nullptr) b.ops->expert_bias_gradient(b.exec, dy->local, offsets.local, accumulator(b, *bias_slot));
  });
  return y;
}

/// As many ones as there are scores, for rows that were weighted before.
inline array ones_like(context& c, const array& scores) {
  array ones = make_array(c, scores.type(), scores.rank(), scores.local.extent, scores.global, scores.layout);
  c.ops->fill(c.exec, ones.local, 1.0);
  return ones;
}

/// `like` gives the tokens' extents.
inline array combine(context& c, const array& rows, const array& scores, const array& slot_of_pair, const array& like,
                     const layout_value& layout) {
  std::int64_t local[max_rank], global[max_rank];
  for (int d = 0; d < like.rank(); ++d) local[d] = like.local.extent[d], global[d] = like.global[d];
  local[like.rank() - 1] = rows.local.extent[1];
  global[like.rank() - 1] = rows.global[1];
  array y = make_array(c, rows.type(), like.rank(), local, global, layout);
  c.ops->combine(c.exec, rows.local, scores.local, slot_of_pair.local, matrix(y.local));
  if (!wants_gradient(c, rows) && !wants_gradient(c, scores)) return y;
  track(y);
  c.recording->push([rows, scores, slot_of_pair, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    std::shared_ptr<buffer> memory[2];
    const view drows = detail::allocate(b, rows.local, memory[0]), dscores = detail::allocate(b, scores.local, memory[1]);
    b.ops->combine_gradient(b.exec, matrix(dy->local), rows.local, scores.local, slot_of_pair.local, drows, dscores);
    contribute(b, rows.gradient, drows, memory[0]);
    contribute(b, scores.gradient, dscores, memory[1]);
  });
  return y;
}

/// [2, E]: how often each expert was chosen, and the sum of its probabilities, over the valid local tokens. Only the second row
/// carries a gradient, to the logits.
inline array router_statistics(context& c, const array& logits, const routing_arrays& r, const array& valid, const layout_value& layout) {
  const std::int64_t extent[2] = {2, logits.local.columns()};
  array y = make_array(c, statistic_of(logits.type()), 2, extent, extent, layout);
  const auto row = [](view v, int i) {
    view part = v;
    part.rank = 1;
    part.extent[0] = v.extent[1];
    part.data = static_cast<char*>(v.data) + static_cast<std::size_t>(i) * part.bytes();
    return part;
  };
  c.ops->router_statistics(c.exec, r.probabilities.local, r.ids.local, valid.local, row(y.local, 0), row(y.local, 1));
  if (!wants_gradient(c, logits)) return y;
  track(y);
  c.recording->push([slot = logits.gradient, probabilities = r.probabilities, valid, row, dy = y.gradient](context& b) {
    if (!dy->filled) return;
    contribute(b, slot, [&](view d) {
      b.ops->router_statistics_gradient(b.exec, probabilities.local, valid.local, row(dy->local, 1), matrix(d));
    });
  });
  return y;
}

}  // namespace plait::inline v0_1::runtime
