#pragma once
// Llama (arXiv 2307.09288; transformers models/llama): parameter table and plans. All layers are dense.
#include "plait/model/decoder_table.hpp"
#include "plait/model/training_mesh.hpp"

namespace plait::inline v0_1 {

struct llama {
  static constexpr const char* name = "llama";
  using D = decoder_dims;
  static constexpr parameter weights[] = {
      {"model.embed_tokens.weight", {D::vocabulary, D::hidden}, uneven{}},
      {"model.layers.*.input_layernorm.weight", {D::hidden}},
      {"model.layers.*.self_attn.q_proj.weight", {D::query_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.k_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.v_proj.weight", {D::key_value_width, D::hidden}, unit(0, D::head_dim)},
      {"model.layers.*.self_attn.o_proj.weight", {D::hidden, D::query_width}, unit(1, D::head_dim)},
      {"model.layers.*.post_attention_layernorm.weight", {D::hidden}},
      {"model.layers.*.mlp.gate_proj.weight", {D::dense_width, D::hidden}, layer_kind::dense},
      {"model.layers.*.mlp.up_proj.weight", {D::dense_width, D::hidden}, layer_kind::dense},
      {"model.layers.*.mlp.down_proj.weight", {D::hidden, D::dense_width}, layer_kind::dense},
      {"model.norm.weight", {D::hidden}},
      {"lm_head.weight", {D::vocabulary, D::hidden}, uneven{}},
  };
  static constexpr auto with_attention_biases = with_rows(weights, attention_biases);
  static constexpr auto table = with_rows(with_attention_biases.rows, dense_mlp_biases);
  static constexpr auto& parameters = table.rows;
  static constexpr activation_point activations[] = {decoder_points[0], decoder_points[1], decoder_points[3], decoder_points[4]};
  static constexpr tie ties[] = {{"lm_head.weight", "model.embed_tokens.weight"}};
};

/// Tensor parallelism.
struct llama_tp : plan<training_mesh,
    parameters<
        rule<"model.embed_tokens", vocabulary<tp>>,
        rule<"model.layers.*.input_layernorm", replicated<tp>>,
        rule<"model.layers.*.self_attn.q_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.k_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.v_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.o_proj", rowwise<tp>>,
        rule<"model.layers.*.post_attention_layernorm", replicated<tp>>,
        rule<"model.layers.*.mlp.gate_proj", colwise<tp>>,
        rule<"model.layers.*.mlp.up_proj", colwise<tp>>,
        rule<"model.layers.*.mlp.down_proj", rowwise<tp>>,
        rule<"model.norm", replicated<tp>>,
        rule<"lm_head", colwise<tp>>>,
    activations<
        activation<"model.layers.*", on<data, Shard<0>>, on<tp, Invariant>>,
        activation<"model.layers.*.self_attn", on<data, Shard<0>>>,
        activation<"model.layers.*.mlp", on<data, Shard<0>>>,
        activation<"lm_head", on<data, Shard<0>>>>,
    everywhere<fsdp<data>>> {};

/// Sequence parallelism: the residual stream is cut by sequence over tp.
struct llama_sp : plan<training_mesh,
    parameters<
        rule<"model.embed_tokens", vocabulary_scatter<tp>>,
        rule<"model.layers.*.input_layernorm", sequence_parallel<tp>>,
        rule<"model.layers.*.self_attn.q_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.k_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.v_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.o_proj", rowwise_scatter<tp>>,
        rule<"model.layers.*.post_attention_layernorm", sequence_parallel<tp>>,
        rule<"model.layers.*.mlp.gate_proj", colwise<tp>>,
        rule<"model.layers.*.mlp.up_proj", colwise<tp>>,
        rule<"model.layers.*.mlp.down_proj", rowwise_scatter<tp>>,
        rule<"model.norm", sequence_parallel<tp>>,
        rule<"lm_head", colwise<tp>>>,
    activations<
        activation<"model.layers.*", on<data, Shard<0>>, on<tp, Shard<1>>>,
        activation<"model.layers.*.self_attn", on<data, Shard<0>>>,
        activation<"model.layers.*.mlp", on<data, Shard<0>>>,
        activation<"lm_head", on<data, Shard<0>>>>,
    everywhere<fsdp<data>>> {};

static_assert(covers<llama_tp, llama> && covers<llama_sp, llama>);

}  // namespace plait::inline v0_1
