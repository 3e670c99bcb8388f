// The table of qwen3_moe_sp_ep with one style flipped: a norm of keys cut by sequence meets keys cut by heads.
#include "plait/model/qwen3_moe.hpp"
#include "plait/model/decoder.hpp"

using namespace plait;

struct my_plan : plan<training_mesh,
    parameters<
        rule<"model.embed_tokens", vocabulary_scatter<tp>>,
        rule<"model.layers.*.input_layernorm", sequence_parallel<tp>>,
        rule<"model.layers.*.self_attn.q_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.k_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.v_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.o_proj", rowwise_scatter<tp>>,
        rule<"model.layers.*.self_attn.q_norm", sequence_parallel<tp, 2>>,
#ifdef PLAIT_EXPECT_FAIL
        rule<"model.layers.*.self_attn.k_norm", sequence_parallel<tp>>,  // expected-error {{"plait\[placement-mismatch\]"}}
#else
        rule<"model.layers.*.self_attn.k_norm", sequence_parallel<tp, 2>>,
#endif
        rule<"model.layers.*.post_attention_layernorm", sequence_parallel<tp>>,
        rule<"model.layers.*.mlp.gate", ep_router<ep>>,
        rule<"model.layers.*.mlp.experts.gate_up_proj", grouped_gemm<ep>, fsdp<efsdp>>,
        rule<"model.layers.*.mlp.experts.down_proj", grouped_gemm<ep>, fsdp<efsdp>>,
        rule<"model.layers.*.mlp.gate_proj", colwise<tp>>,
        rule<"model.layers.*.mlp.up_proj", colwise<tp>>,
        rule<"model.layers.*.mlp.down_proj", rowwise_scatter<tp>>,
        rule<"model.norm", sequence_parallel<tp>>,
        rule<"lm_head", colwise<tp>>>,
    activations<
        activation<"model.layers.*", on<data, Shard<0>>, on<tp, Shard<1>>>,
        activation<"model.layers.*.self_attn", on<data, Shard<0>>>,
        activation<"model.layers.*.mlp", only<layer_kind::sparse>, on<fsdp_outer, Shard<0>>>,
        activation<"model.layers.*.mlp", only<layer_kind::dense>, on<data, Shard<0>>>,
        activation<"lm_head", on<data, Shard<0>>>>,
    everywhere<fsdp<data>>> {};

void step(context& c, decoder<my_plan, qwen3_moe>& model, const batch& input, const loss_scale& scale) {
  backward(c, *model.forward(c, input, &scale).loss);
}
