#pragma once
// An expert-parallel plan whose tokens stay cut: each rank routes its own, and their rows are sent to the ranks of their experts and
// back. The stream may be cut by sequence over tp (nothing is moved to get there), whole (a slice that costs nothing, an all-gather
// afterwards), or over the data ranks alone.
#include "plait/model/decoder_traits.hpp"
#include "plait/model/plan_parts.hpp"

namespace plait::inline v0_1 {

/// What enters layers with experts: this rank's tokens.
using own_tokens = activations<activation<"model.layers.*.mlp", on<data, Shard<0>>, on<tp, Shard<1>>>>;
using own_tokens_of_mixed_layers = activations<
    activation<"model.layers.*.mlp", only<layer_kind::sparse>, on<data, Shard<0>>, on<tp, Shard<1>>>,
    activation<"model.layers.*.mlp", only<layer_kind::dense>, on<data, Shard<0>>>>;

/// The expert that every token visits: whole on every rank, which applies it to its own tokens.
using own_shared_expert = parameters<
    rule<"model.layers.*.mlp.shared_expert.gate_proj", sequence_parallel<tp>>,
    rule<"model.layers.*.mlp.shared_expert.up_proj", sequence_parallel<tp>>,
    rule<"model.layers.*.mlp.shared_expert.down_proj", sequence_parallel<tp>>>;
using own_shared_expert_gate = parameters<rule<"model.layers.*.mlp.shared_expert_gate", sequence_parallel<tp>>>;

/// Base (one of Model's plans on the training mesh with experts over ep) with tokens that are sent.
template <class Base, class Model>
struct with_dispatch
    : amend<Base, parameters<rule<"model.layers.*.mlp.gate", dispatch_router<tp>>>,
            std::conditional_t<decoder_traits<Model>::dense_layers, own_tokens_of_mixed_layers, own_tokens>,
            std::conditional_t<decoder_traits<Model>::shared_expert, own_shared_expert, parameters<>>,
            std::conditional_t<decoder_traits<Model>::shared_expert_gate, own_shared_expert_gate, parameters<>>> {};

}  // namespace plait::inline v0_1
