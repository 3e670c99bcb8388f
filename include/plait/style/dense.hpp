#pragma once
// Styles of dense layers. Upstream's names where one exists (transformers' tensor_parallel registry).
#include "plait/style/style.hpp"

namespace plait::inline v0_1 {

/// W[out, in] cut by out; the output is cut in its last dim.
template <class Axis>
struct colwise : style<Axis, Shard<-2>, Shard<0>, Replicate, stays<Shard<-1>>> {};

/// As colwise, then gathered for identical work on every rank (an output whole on every rank). The bias is added to the whole.
template <class Axis>
struct colwise_gather_output : style<Axis, Shard<-2>, Invariant, Replicate, becomes<Invariant>> {};

/// W holds two tensors packed in out (gate | up); a rank holds its piece of each.
template <class Axis>
struct packed_colwise : style<Axis, StridedShard<-2, 2>, StridedShard<0, 2>, Replicate, stays<StridedShard<-1, 2>>> {};

/// W[out, in] cut by in; the partial products are summed by an all-reduce. The bias is added once, after the sum.
template <class Axis>
struct rowwise : style<Axis, Shard<-1>, Invariant, Shard<-1>, becomes<Invariant>> {};

/// As rowwise, but the sum is scattered over dim Dim (1: the sequence): the exit of a sequence-parallel region.
template <class Axis, int Dim = 1>
struct rowwise_scatter : style<Axis, Shard<-1>, Replicate, Shard<-1>, becomes<Shard<Dim>>> {};

/// As rowwise, but the sum stays pending: it joins another one before both are reduced (a shared expert).
template <class Axis>
struct rowwise_pending : style<Axis, Shard<-1>, Replicate, Shard<-1>, stays<Partial>> {};

/// W is whole and every rank does identical work with it (a norm outside sequence parallelism).
template <class Axis>
struct replicated : style<Axis, Invariant, Invariant, Invariant, stays<Invariant>> {};

/// W is whole; each rank applies it to its own rows of dim Dim (1: the sequence, 2: heads). Its gradient is a pending sum,
/// reduced once a step: what upstream needs `replicated_with_grad_allreduce` for is derived here.
template <class Axis, int Dim = 1>
struct sequence_parallel : style<Axis, Replicate, Replicate, Shard<Dim>, stays<Shard<Dim>>> {};

/// W is whole, and each rank needs the whole product for its own use: a latent whose heads are cut behind it, and its norm. The
/// gradients are pending sums, the input's until it joins its siblings', W's until the end of the step: what upstream's
/// `mla_kv_a_proj` does by hand for some of the columns is derived here for all.
template <class Axis>
struct on_every_rank : style<Axis, Replicate, Replicate, Replicate, stays<Replicate>> {};

/// Keys or values with fewer heads than the axis has ranks: W is whole, and each rank takes of the product the heads that its own queries
/// need (repeat_heads), which may be the same ones on several ranks. W's gradient is a pending sum over them.
template <class Axis>
struct replicated_heads : on_every_rank<Axis> {
  static constexpr bool repeats_heads = true;
};

/// One number a head, [heads], cut as the heads are.
template <class Axis>
struct headwise : style<Axis, Shard<0>, Shard<0>, Shard<2>, stays<Shard<2>>> {};

/// Embedding table cut by vocabulary; the lookups are summed.
template <class Axis>
struct vocabulary : style<Axis, Shard<0>, Invariant, Invariant, becomes<Invariant>> {};

/// Embedding table cut by vocabulary; the sum is scattered over the sequence.
template <class Axis, int Dim = 1>
struct vocabulary_scatter : style<Axis, Shard<0>, Replicate, Replicate, becomes<Shard<Dim>>> {};

/// Embedding table cut by hidden; the columns are gathered.
template <class Axis>
struct embedding_colwise : style<Axis, Shard<1>, Replicate, Invariant, becomes<Invariant>> {};

}  // namespace plait::inline v0_1
