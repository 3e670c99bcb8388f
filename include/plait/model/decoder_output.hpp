#pragma once
// What a decoder is told and what it gives.
#include <optional>

namespace plait::inline v0_1 {

enum class recomputation : unsigned char { none, layer, experts };

struct decoder_options {
  recomputation recompute = recomputation::none;
  bool repeat_heads = false;  // the store was built from repeated_heads_plan
};

/// Output of a layer: the residual stream and, from sparse layers, the router's statistics.
template <class Stream, class Statistics>
struct layer_output {
  Stream x;
  std::optional<Statistics> statistics;
  template <class Visitor>
  void each(Visitor visit) {
    visit(x);
    if (statistics) visit(*statistics);
  }
};

template <class Logits, class Scalar, class Statistics>
struct decoder_output {
  Logits logits;
  std::optional<Scalar> loss;            // cross entropy + aux_weight * balancing loss
  std::optional<Scalar> aux_loss;        // balancing loss of this slice, before any weight
  std::optional<Statistics> statistics;  // [2, E]: choices per expert and probability sums, all layers, all valid tokens
};

}  // namespace plait::inline v0_1
