// A shared expert cut over other ranks than the experts: its output is a copy where theirs is a pending sum, and would be counted there
// once a rank.
#include "plait/model/qwen2_moe.hpp"
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
        rule<"model.layers.*.post_attention_layernorm", replicated<tp>>,
        rule<"model.layers.*.mlp.gate", ep_router<ep>>,
        rule<"model.layers.*.mlp.experts.gate_up_proj", grouped_gemm<ep>, fsdp<efsdp>>,
        rule<"model.layers.*.mlp.experts.down_proj", grouped_gemm<ep>, fsdp<efsdp>>,
#ifdef PLAIT_EXPECT_FAIL
        rule<"model.layers.*.mlp.shared_expert.gate_proj", colwise<tp>>,
        rule<"model.layers.*.mlp.shared_expert.up_proj", colwise<tp>>,
        rule<"model.layers.*.mlp.shared_expert.down_proj", rowwise_pending<tp>>,
#else
        rule<"model.layers.*.mlp.shared_expert.gate_proj", colwise<ep>, fsdp<efsdp>>,
        rule<"model.layers.*.mlp.shared_expert.up_proj", colwise<ep>, fsdp<efsdp>>,
        rule<"model.layers.*.mlp.shared_expert.down_proj", rowwise_pending<ep>, fsdp<efsdp>>,
#endif
        rule<"model.layers.*.mlp.shared_expert_gate", router<ep>>,
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

void step(context& c, decoder<my_plan, qwen2_moe>& model, const batch& input, const loss_scale& scale) {
  backward(c, *model.forward(c, input, &scale).loss);  // expected-error {{"plait\[partial-plus-replicate\]"}}
}
