#pragma once
// Mixtral (arXiv 2401.04088; transformers models/mixtral): parameter table and plans.
#include "plait/model/decoder_table.hpp"
#include "plait/model/training_mesh.hpp"

namespace plait::inline v0_1 {

struct mixtral {
  static constexpr const char* name = "mixtral";
  using D = decoder_dims;
  static constexpr parameter parameters[] = {
      {"model.embed_tokens.weight", {D::vocabulary, D::hidden}, uneven{}},
      {"model.layers.*.input_layernorm.weight", {D::hidden}},
      {"model.layers.*.self_attn.q_proj.weight", {D::query_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.k_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.v_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.o_proj.weight", {D::hidden, D::query_width}, unit(1, D::head_dim)},
      {"model.layers.*.post_attention_layernorm.weight", {D::hidden}},
      {"model.layers.*.mlp.gate.weight", {D::experts, D::hidden}, layer_kind::sparse},
      {"model.layers.*.mlp.experts.gate_up_proj", {D::experts, D::expert_width_2, D::hidden}, packed(1, 2), layer_kind::sparse},
      {"model.layers.*.mlp.experts.down_proj", {D::experts, D::hidden, D::expert_width}, layer_kind::sparse},
      {"model.norm.weight", {D::hidden}},
      {"lm_head.weight", {D::vocabulary, D::hidden}, uneven{}},
  };
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[2], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

/// Tensor parallelism, experts cut inside.
struct mixtral_tp : plan<training_mesh,
    parameters<
        rule<"model.embed_tokens", vocabulary<tp>>,
        rule<"model.layers.*.input_layernorm", replicated<tp>>,
        rule<"model.layers.*.self_attn.q_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.k_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.v_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.o_proj", rowwise<tp>>,
        rule<"model.layers.*.post_attention_layernorm", replicated<tp>>,
        rule<"model.layers.*.mlp.gate", router<tp>>,
        rule<"model.layers.*.mlp.experts.gate_up_proj", moe_gate_up_colwise<tp>>,
        rule<"model.layers.*.mlp.experts.down_proj", moe_down_rowwise<tp>>,
        rule<"model.norm", replicated<tp>>,
        rule<"lm_head", colwise<tp>>>,
    activations<
        activation<"model.layers.*", on<data, Shard<0>>, on<tp, Invariant>>,
        activation<"model.layers.*.self_attn", on<data, Shard<0>>>,
        activation<"model.layers.*.mlp", on<data, Shard<0>>>,
        activation<"lm_head", on<data, Shard<0>>>>,
    everywhere<fsdp<data>>> {};

/// Sequence parallelism: the residual stream is cut by sequence over tp.
struct mixtral_sp : plan<training_mesh,
    parameters<
        rule<"model.embed_tokens", vocabulary_scatter<tp>>,
        rule<"model.layers.*.input_layernorm", sequence_parallel<tp>>,
        rule<"model.layers.*.self_attn.q_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.k_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.v_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.o_proj", rowwise_scatter<tp>>,
        rule<"model.layers.*.post_attention_layernorm", sequence_parallel<tp>>,
        rule<"model.layers.*.mlp.gate", router<tp>>,
        rule<"model.layers.*.mlp.experts.gate_up_proj", moe_gate_up_colwise<tp>>,
        rule<"model.layers.*.mlp.experts.down_proj", moe_down_rowwise<tp>>,
        rule<"model.norm", sequence_parallel<tp>>,
        rule<"lm_head", colwise<tp>>>,
    activations<
        activation<"model.layers.*", on<data, Shard<0>>, on<tp, Shard<1>>>,
        activation<"model.layers.*.self_attn", on<data, Shard<0>>>,
        activation<"model.layers.*.mlp", on<data, Shard<0>>>,
        activation<"lm_head", on<data, Shard<0>>>>,
    everywhere<fsdp<data>>> {};

/// Tensor-parallel attention, experts over ep. Tokens cut over the inner data ranks are gathered before the experts.
struct mixtral_tp_ep : plan<training_mesh,
    parameters<
        rule<"model.embed_tokens", vocabulary<tp>>,
        rule<"model.layers.*.input_layernorm", replicated<tp>>,
        rule<"model.layers.*.self_attn.q_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.k_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.v_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.o_proj", rowwise<tp>>,
        rule<"model.layers.*.post_attention_layernorm", replicated<tp>>,
        rule<"model.layers.*.mlp.gate", ep_router<ep>>,
        rule<"model.layers.*.mlp.experts.gate_up_proj", grouped_gemm<ep>, fsdp<efsdp>>,
        rule<"model.layers.*.mlp.experts.down_proj", grouped_gemm<ep>, fsdp<efsdp>>,
        rule<"model.norm", replicated<tp>>,
        rule<"lm_head", colwise<tp>>>,
    activations<
        activation<"model.layers.*", on<data, Shard<0>>, on<tp, Invariant>>,
        activation<"model.layers.*.self_attn", on<data, Shard<0>>>,
        activation<"model.layers.*.mlp", on<fsdp_outer, Shard<0>>>,
        activation<"lm_head", on<data, Shard<0>>>>,
    everywhere<fsdp<data>>> {};

/// Sequence-parallel attention, experts over ep.
struct mixtral_sp_ep : plan<training_mesh,
    parameters<
        rule<"model.embed_tokens", vocabulary_scatter<tp>>,
        rule<"model.layers.*.input_layernorm", sequence_parallel<tp>>,
        rule<"model.layers.*.self_attn.q_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.k_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.v_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.o_proj", rowwise_scatter<tp>>,
        rule<"model.layers.*.post_attention_layernorm", sequence_parallel<tp>>,
        rule<"model.layers.*.mlp.gate", ep_router<ep>>,
        rule<"model.layers.*.mlp.experts.gate_up_proj", grouped_gemm<ep>, fsdp<efsdp>>,
        rule<"model.layers.*.mlp.experts.down_proj", grouped_gemm<ep>, fsdp<efsdp>>,
        rule<"model.norm", sequence_parallel<tp>>,
        rule<"lm_head", colwise<tp>>>,
    activations<
        activation<"model.layers.*", on<data, Shard<0>>, on<tp, Shard<1>>>,
        activation<"model.layers.*.self_attn", on<data, Shard<0>>>,
        activation<"model.layers.*.mlp", on<fsdp_outer, Shard<0>>>,
        activation<"lm_head", on<data, Shard<0>>>>,
    everywhere<fsdp<data>>> {};

static_assert(covers<mixtral_tp, mixtral> && covers<mixtral_sp, mixtral> && covers<mixtral_tp_ep, mixtral> && covers<mixtral_sp_ep, mixtral>);

}  // namespace plait::inline v0_1
