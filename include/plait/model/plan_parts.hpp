#pragma once
// Rules that several families' plans share, for amend<...>. A part names the rows that have it in the families' parameter tables.
#include "plait/model/training_mesh.hpp"
#include "plait/plan/amend.hpp"

namespace plait::inline v0_1 {

/// Norms of each head's queries and keys: the heads are cut over the axis, the norm's weight is whole, its gradient a pending sum.
template <class Axis>
using head_norms = parameters<
    rule<"model.layers.*.self_attn.q_norm", sequence_parallel<Axis, 2>>,
    rule<"model.layers.*.self_attn.k_norm", sequence_parallel<Axis, 2>>>;

/// Norms over all heads together: q and k are gathered for them and then cut again.
template <class Axis>
using whole_norms = parameters<
    rule<"model.layers.*.self_attn.q_proj", colwise_gather_output<Axis>>,
    rule<"model.layers.*.self_attn.k_proj", colwise_gather_output<Axis>>,
    rule<"model.layers.*.self_attn.q_norm", replicated<Axis>>,
    rule<"model.layers.*.self_attn.k_norm", replicated<Axis>>>;

/// Latent attention in the place of q, k and v: every rank has the latents, the heads expanded from them are cut.
template <class Axis>
using latent_attention = parameters<
    rule<"model.layers.*.self_attn.q_proj", colwise<Axis>>,
    rule<"model.layers.*.self_attn.q_a_proj", on_every_rank<Axis>>,
    rule<"model.layers.*.self_attn.q_a_layernorm", on_every_rank<Axis>>,
    rule<"model.layers.*.self_attn.q_b_proj", colwise<Axis>>,
    rule<"model.layers.*.self_attn.kv_a_proj_with_mqa", on_every_rank<Axis>>,
    rule<"model.layers.*.self_attn.kv_a_layernorm", on_every_rank<Axis>>,
    rule<"model.layers.*.self_attn.kv_b_proj", colwise<Axis>>>;
using no_keys_and_values = without<"model.layers.*.self_attn.k_proj", "model.layers.*.self_attn.v_proj">;

/// A logit a head more in attention's softmax.
template <class Axis>
using head_sinks = parameters<rule<"model.layers.*.self_attn.sinks", headwise<Axis>>>;

/// Layers with one MLP, whose output Down moves into the stream.
template <class Down>
using dense_mlp = parameters<
    rule<"model.layers.*.mlp.gate_proj", colwise<typename Down::axis>>,
    rule<"model.layers.*.mlp.up_proj", colwise<typename Down::axis>>,
    rule<"model.layers.*.mlp.down_proj", Down>>;

/// Where layers with one MLP stand between those with experts and the experts' tokens are gathered over the inner data ranks.
using mixed_layers = activations<
    activation<"model.layers.*.mlp", only<layer_kind::sparse>, on<fsdp_outer, Shard<0>>>,
    activation<"model.layers.*.mlp", only<layer_kind::dense>, on<data, Shard<0>>>>;

/// An expert that every token visits, cut over the ranks among which the experts are, so that one sum is pending for both.
template <class Axis, class Storage = plan_default>
using shared_expert = parameters<
    rule<"model.layers.*.mlp.shared_expert.gate_proj", colwise<Axis>, Storage>,
    rule<"model.layers.*.mlp.shared_expert.up_proj", colwise<Axis>, Storage>,
    rule<"model.layers.*.mlp.shared_expert.down_proj", rowwise_pending<Axis>, Storage>>;
/// The bias of its last projection, which is added once, when the pending sum has become the stream's: a style of norms.
template <class Style>
using shared_expert_bias = parameters<rule<"model.layers.*.mlp.shared_expert.down_proj.bias", Style>>;
/// The same with a gate that weights its output.
template <class Axis, class Storage = plan_default>
using gated_shared_expert = parameters<
    rule<"model.layers.*.mlp.shared_expert.gate_proj", colwise<Axis>, Storage>,
    rule<"model.layers.*.mlp.shared_expert.up_proj", colwise<Axis>, Storage>,
    rule<"model.layers.*.mlp.shared_expert.down_proj", rowwise_pending<Axis>, Storage>,
    rule<"model.layers.*.mlp.shared_expert_gate", router<Axis>>>;

}  // namespace plait::inline v0_1
