#pragma once
// Styles of expert layers. The experts' communication is no style: it follows from how their weights lie (typing/experts.hpp).
#include "plait/style/style.hpp"

namespace plait::inline v0_1 {

/// Expert parallelism: every listed expert tensor [E, ...] cut by expert. Rows arrive that are for this rank's experts, picked among
/// tokens that are whole on the axis, or sent by the ranks among which the tokens are cut.
template <class Axis>
struct grouped_gemm : style<Axis, Shard<0>, Shard<0>, Ragged, stays<Ragged>> {};

/// Tensor parallelism inside each expert, up projection [E, 2I, H] with gate | up packed in dim 1.
template <class Axis>
struct moe_gate_up_colwise : style<Axis, StridedShard<1, 2>, StridedShard<1, 2>, Replicate, stays<StridedShard<-1, 2>>> {};

/// Tensor parallelism inside each expert, down projection [E, H, I].
template <class Axis>
struct moe_down_rowwise : style<Axis, Shard<2>, Replicate, Shard<-1>, stays<Partial>> {};

/// The same two for weights that lie the other way round: up [E, H, 2I] with gate | up packed in dim 2, down [E, I, H].
template <class Axis>
struct moe_gate_up_colwise_transposed : style<Axis, StridedShard<2, 2>, StridedShard<1, 2>, Replicate, stays<StridedShard<-1, 2>>> {};
template <class Axis>
struct moe_down_rowwise_transposed : style<Axis, Shard<1>, Replicate, Shard<-1>, stays<Partial>> {};

/// Up projection [E, H, 2I] where gate and up alternate: a plain cut keeps pairs together.
template <class Axis>
struct moe_gate_up_paired_transposed : style<Axis, Shard<2>, Shard<1>, Replicate, stays<Shard<-1>>> {};

/// A router whose experts are all here (cut inside, or whole): weight, input and scores Replicate.
template <class Axis>
struct router : style<Axis, Replicate, Replicate, Replicate, stays<Replicate>> {};

/// The router of experts on Axis: weight, input, logits and scores are Replicate, entered together with the experts' input, so
/// that all their gradients are pending sums which join before the one reduction.
template <class Axis>
struct ep_router : style<Axis, Replicate, Replicate, Replicate, stays<Replicate>> {
  static constexpr bool routes = true;
};

/// The router of experts to whose ranks tokens are sent: each rank routes its own, cut over Axis (one of the experts' axes) by dim Dim
/// (1: the sequence). The weight is whole, its gradient a pending sum, reduced once a step.
template <class Axis, int Dim = 1>
struct dispatch_router : style<Axis, Replicate, Replicate, Shard<Dim>, stays<Shard<Dim>>> {
  static constexpr bool routes = true;
};

}  // namespace plait::inline v0_1
