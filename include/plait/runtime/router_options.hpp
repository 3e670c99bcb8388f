#pragma once
// How a router turns logits into chosen experts and their scores. What families do differently is a value here, not another op.
#include <cstdint>

namespace plait::inline v0_1 {

enum class router_scoring : std::uint8_t {
  softmax,  // over all experts
  sigmoid,  // of each logit by itself
  /// Softmax over the logits that lie near the chosen one, for the best expert and then for the best of the others: what SparseMixer
  /// (arXiv 2409.12136) computes in evaluation. Always two experts.
  sparsemixer,
};

/// What a group of experts is worth: its best expert (DeepSeek-V2), or its two best together (DeepSeek-V3, GLM-4).
enum class group_worth : std::uint8_t { best, two_best };

struct router_options {
  router_scoring scoring = router_scoring::softmax;
  /// A token's k scores are divided by max(their sum, smallest_sum) + epsilon.
  bool normalise = false;
  double smallest_sum = 0, epsilon = 0;
  double factor = 1;  // of every score, in the end
  /// Experts lie in `groups` runs of equal length; those outside of the `kept_groups` best groups are not chosen.
  std::int32_t groups = 1, kept_groups = 1;
  group_worth worth = group_worth::best;
  /// sparsemixer: a logit l is near the chosen one m where (m - l) / max(|l|, m) <= nearness.
  double nearness = 0;

  friend constexpr bool operator==(const router_options&, const router_options&) = default;
};

}  // namespace plait::inline v0_1
