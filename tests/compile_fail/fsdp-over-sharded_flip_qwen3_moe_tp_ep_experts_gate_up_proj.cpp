// The table of qwen3_moe_tp_ep with one style flipped: FSDP of the experts over all data ranks, of which the inner
// ones hold other experts.
#include "plait/model/qwen3_moe.hpp"
#include "plait/model/decoder.hpp"

using namespace plait;

struct my_plan : plan<training_mesh,
    parameters<
        rule<"model.embed_tokens", vocabulary<tp>>,
        rule<"model.layers.*.input_layernorm", replicated<tp>>,
        rule<"model.layers.*.self_attn.q_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.k_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.v_proj", colwise<tp>>,
        rule<"model.layers.*.self_attn.o_proj", rowwise<tp>>,
        rule<"model.layers.*.self_attn.q_norm", sequence_parallel<tp, 2>>,
        rule<"model.layers.*.self_attn.k_norm", sequence_parallel<tp, 2>>,
        rule<"model.layers.*.post_attention_layernorm", replicated<tp>>,
        rule<"model.layers.*.mlp.gate", ep_router<ep>>,
#ifdef PLAIT_EXPECT_FAIL
        rule<"model.layers.*.mlp.experts.gate_up_proj", grouped_gemm<ep>, fsdp<data>>,  // expected-error {{"plait\[fsdp-over-sharded\]"}}
#else
        rule<"model.layers.*.mlp.experts.gate_up_proj", grouped_gemm<ep>, fsdp<efsdp>>,
#endif
        rule<"model.layers.*.mlp.experts.down_proj", grouped_gemm<ep>, fsdp<efsdp>>,
        rule<"model.layers.*.mlp.gate_proj", colwise<tp>>,
        rule<"model.layers.*.mlp.up_proj", colwise<tp>>,
        rule<"model.layers.*.mlp.down_proj", rowwise<tp>>,
        rule<"model.norm", replicated<tp>>,
        rule<"lm_head", colwise<tp>>>,
    activations<
        activation<"model.layers.*", on<data, Shard<0>>, on<tp, Invariant>>,
        activation<"model.layers.*.self_attn", on<data, Shard<0>>>,
        activation<"model.layers.*.mlp", only<layer_kind::sparse>, on<fsdp_outer, Shard<0>>>,
        activation<"model.layers.*.mlp", only<layer_kind::dense>, on<data, Shard<0>>>,
        activation<"lm_head", on<data, Shard<0>>>>,
    everywhere<fsdp<data>>> {};

void step(context& c, decoder<my_plan, qwen3_moe>& model, const batch& input, const loss_scale& scale) {
  backward(c, *model.forward(c, input, &scale).loss);
}
