// The table of qwen3_moe_tp with one style flipped: a norm per head whose weight would get no summed gradient
// over the ranks that share out the heads.
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
#ifdef PLAIT_EXPECT_FAIL
        rule<"model.layers.*.self_attn.q_norm", replicated<tp>>,  // expected-error {{"plait\[placement-mismatch\]"}}
#else
        rule<"model.layers.*.self_attn.q_norm", sequence_parallel<tp, 2>>,
#endif
        rule<"model.layers.*.self_attn.k_norm", sequence_parallel<tp, 2>>,
        rule<"model.layers.*.post_attention_layernorm", replicated<tp>>,
        rule<"model.layers.*.mlp.gate", router<tp>>,
        rule<"model.layers.*.mlp.experts.gate_up_proj", moe_gate_up_colwise<tp>>,
        rule<"model.layers.*.mlp.experts.down_proj", moe_down_rowwise<tp>>,
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

void step(context& c, decoder<my_plan, qwen3_moe>& model, const batch& input, const loss_scale& scale) {
  backward(c, *model.forward(c, input, &scale).loss);
}
