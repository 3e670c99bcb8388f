#pragma once
// What a gated activation makes of gate and up; the defaults are SwiGLU (arXiv 2002.05202).

namespace plait::inline v0_1 {

/// y = (up + offset) * gate * sigmoid(alpha * gate).
struct gated_options {
  bool interleaved = false;  // gate and up alternate, columns 2 i and 2 i + 1; otherwise all gates come first
  double alpha = 1, offset = 0;
  double limit = 0;  // gate is clamped to at most this, up to [-limit, limit]; what is beyond has no gradient. 0: no limit
  friend constexpr bool operator==(const gated_options&, const gated_options&) = default;
};

}  // namespace plait::inline v0_1
