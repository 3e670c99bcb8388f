// The table of qwen3_moe_sp with one style flipped: a dense layer's output is all-reduced, the stream is cut by
// sequence.
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
        rule<"model.layers.*.self_attn.k_norm", sequence_parallel<tp, 2>>,
        rule<"model.layers.*.post_attention_layernorm", sequence_parallel<tp>>,
        rule<"model.layers.*.mlp.gate", router<tp>>,
        rule<"model.layers.*.mlp.experts.gate_up_proj", moe_gate_up_colwise<tp>>,
        rule<"model.layers.*.mlp.experts.down_proj", moe_down_rowwise<tp>>,
        rule<"model.layers.*.mlp.gate_proj", colwise<tp>>,
        rule<"model.layers.*.mlp.up_proj", colwise<tp>>,
#ifdef PLAIT_EXPECT_FAIL
        rule<"model.layers.*.mlp.down_proj", rowwise<tp>>,  // expected-error {{"plait\[invariant-mixed\]"}}
#else
        rule<"model.layers.*.mlp.down_proj", rowwise_scatter<tp>>,
#endif
        rule<"model.norm", sequence_parallel<tp>>,
        rule<"lm_head", colwise<tp>>>,
    activations<
        activation<"model.layers.*", on<data, Shard<0>>, on<tp, Shard<1>>>,
        activation<"model.layers.*.self_attn", on<data, Shard<0>>>,
        activation<"model.layers.*.mlp", on<data, Shard<0>>>,
        activation<"lm_head", on<data, Shard<0>>>>,
    everywhere<fsdp<data>>> {};

void step(context& c, decoder<my_plan, qwen3_moe>& model, const batch& input, const loss_scale& scale) {
  backward(c, *model.forward(c, input, &scale).loss);
}
