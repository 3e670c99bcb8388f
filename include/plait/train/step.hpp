#pragma once
// One training step: accumulate over slices, make gradients whole, clip by the global norm, update. Not a template on the plan.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "plait/model/batch.hpp"
#include "plait/model/decoder_cache.hpp"
#include "plait/runtime/collective_call.hpp"
#include "plait/train/parameter_store.hpp"

namespace plait::inline v0_1 {

/// What a forward pass (and perhaps backward) of one slice says. Numbers are global: equal on every rank.
struct slice_result {
  double loss = 0, aux_loss = 0;
  std::vector<double> expert_choices;  // per expert, all layers
  array logits;                        // [B, S, V], whole on every rank, if wanted
};

/// A model behind a virtual call, so that the loop is compiled once.
class any_model {
 public:
  virtual ~any_model() = default;
  /// Forward; with `train`, backward too (gradients go to the store).
  virtual slice_result run(context& c, const batch& slice, const loss_scale* scale, bool train, bool want_logits) = 0;
  /// Forward of the tokens that follow those in the cache: logits [B, 1, V] of the last position, whole on every rank. `tokens`
  /// counts segment_start from the cache's first position. Refuses to be recorded.
  virtual array next_logits(context&, const batch& /*tokens*/, decoder_cache&) {
    throw std::logic_error("plait: this model has no forward pass with a cache; generate without one");
  }
  /// Whether the keys that a row left in a cache while it had `before` tokens hold when it has `after`. They do not where the rotary
  /// embedding goes by the row's length and turns all of it otherwise from then on.
  virtual bool keys_hold(std::int64_t /*before*/, std::int64_t /*after*/) const { return true; }
};

struct step_options {
  std::int64_t accumulation = 1;
  double clip = 0;        // 0: off
  bool update = true;
  adamw_options adamw{};
  double aux_coefficient = 0;
  std::int64_t sparse_layers = 0;
};

struct step_result {
  double loss = 0, aux_loss = 0, gradient_norm = 0;
  std::int64_t tokens = 0;
  std::vector<double> expert_choices;
  array logits;
};

/// A numeric fault that stops a run before the optimizer has touched any state.
struct numeric_fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void read_faults(context& c) {
  // A fault on one rank must stop all of them at the same place: the first kind found by any rank wins.
  c.ops->read_faults(c.exec);
  const fault mine = c.exec.faults != nullptr ? c.exec.faults->kind() : fault::none;
  const double seen = sum_over_ranks(c, mine == fault::none ? 0.0 : 1.0);
  if (seen == 0) return;
  if (mine == fault::none) throw numeric_fault("plait: stopped, because another rank found bad data");
  throw numeric_fault(std::string("plait: ") + describe(mine) + " (row " + std::to_string(c.exec.faults->where()) +
                      " of a local batch); no state was changed");
}

/// What the losses of slices are shares of: the tokens with a label and the valid ones of all slices.
struct step_totals {
  double labels = 0, valid = 0;
};

/// One slice of a step: its losses are added to `out`, with `train` its gradients to the store.
inline void run_slice(context& c, any_model& model, const batch& slice, const step_totals& all, const step_options& o, bool train, bool want_logits,
                      step_result& out) {
  const double share = all.valid > 0 ? static_cast<double>(slice.valid_count()) / all.valid : 0.0;
  loss_scale scale;
  scale.tokens = all.labels;
  scale.routed_rows = static_cast<double>(slice.valid_count() * o.sparse_layers);
  scale.aux_weight = o.aux_coefficient * share;
  slice_result r = model.run(c, slice, &scale, train, want_logits);
  out.loss += r.loss;
  out.aux_loss += share * r.aux_loss;
  out.logits = std::move(r.logits);
  if (out.expert_choices.empty()) out.expert_choices = std::move(r.expert_choices);
  else
    for (std::size_t e = 0; e < r.expert_choices.size(); ++e) out.expert_choices[e] += r.expert_choices[e];
}

/// Runs `model` over `accumulation` consecutive slices of `input` and, with options.update, the optimizer. A rank may have no rows.
inline step_result train_step(context& c, any_model& model, parameter_store& store, const batch& input, const step_options& o,
                              bool want_logits = false) {
  step_result out;
  const step_totals all{static_cast<double>(input.label_count()), static_cast<double>(input.valid_count())};
  if (all.labels == 0) throw std::invalid_argument("plait: a batch without any labelled token has no loss");
  out.tokens = static_cast<std::int64_t>(all.valid);
  store.zero_gradients(c);
  c.ops->clear_faults(c.exec);  // a step that was refused does not condemn the next one
  const std::int64_t per_slice = ceil_chunk(input.rows, o.accumulation);
  for (std::int64_t first = 0; first < input.rows; first += per_slice)
    run_slice(c, model, input.slice(first, std::min(per_slice, input.rows - first)), all, o, true, want_logits, out);
  store.synchronise_gradients(c);
  out.gradient_norm = store.gradient_norm(c);
  read_faults(c);
  if (!std::isfinite(out.loss) || !std::isfinite(out.gradient_norm))
    throw numeric_fault("plait: the loss or the gradient norm is not finite; no state was changed");
  if (o.update) {
    adamw_options adamw = o.adamw;
    // As torch's clip_grad_norm_: max_norm / (norm + 1e-6), never above 1.
    if (o.clip > 0) adamw.gradient_scale = std::min(1.0, o.clip / (out.gradient_norm + 1e-6));
    store.update(c, adamw);
  }
  return out;
}

/// The losses of `rows` rows without a backward: a store for inference has what it needs. `slice_at(first, count)` gives the rows, so
/// that not all of them need to be in memory; the bits are those of train_step where its slices are the same.
template <class SliceAt>
step_result evaluate(context& c, any_model& model, SliceAt slice_at, std::int64_t rows, std::int64_t per_slice, const step_totals& all,
                     const step_options& o) {
  step_result out;
  if (all.labels == 0) throw std::invalid_argument("plait: a batch without any labelled token has no loss");
  out.tokens = static_cast<std::int64_t>(all.valid);
  c.ops->clear_faults(c.exec);
  for (std::int64_t first = 0; first < rows; first += per_slice) {
    run_slice(c, model, slice_at(first, std::min(per_slice, rows - first)), all, o, false, false, out);
    read_faults(c);
  }
  if (!std::isfinite(out.loss)) throw numeric_fault("plait: the loss is not finite");
  return out;
}

}  // namespace plait::inline v0_1
