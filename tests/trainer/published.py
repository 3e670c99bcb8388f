"""config.json in the form in which models are published: read as it stands, or refused in one line that says what to do, and the number of
parameters is the model's. Only `explain` is run, which loads nothing; families that are not built into the program are left out."""
import json
import math
import os
import subprocess

from lib_trainer import TRAINER, Report, scratch

report = Report()
BF16 = {"torch_dtype": "bfloat16", "initializer_range": 0.02, "use_cache": True, "hidden_act": "silu", "attention_dropout": 0.0}
DEEPSEEK = {"attention_bias": False, "auto_map": {"AutoConfig": "configuration.Config"}, "ep_size": 1, "kv_lora_rank": 512,
            "max_position_embeddings": 163840, "moe_layer_freq": 1, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
            "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": False}


def yarn(mscale):
    return {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": mscale, "mscale_all_dim": mscale, "original_max_position_embeddings": 4096,
            "type": "yarn"}


# Name: the number of parameters (without those of prediction layers, which are not read), the fields.
MODELS = {
    "Mixtral-8x7B": (46_702_792_704, {
        "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 32768, "num_attention_heads": 32,
        "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8, "output_router_logits": False,
        "rms_norm_eps": 1e-5, "rope_theta": 1e6, "router_aux_loss_coef": 0.02, "sliding_window": None, "tie_word_embeddings": False,
        "vocab_size": 32000}),
    "Qwen3-30B-A3B": (30_532_122_624, {
        "model_type": "qwen3_moe", "attention_bias": False, "decoder_sparse_step": 1, "head_dim": 128, "hidden_size": 2048,
        "intermediate_size": 6144, "max_position_embeddings": 40960, "max_window_layers": 48, "mlp_only_layers": [], "moe_intermediate_size": 768,
        "norm_topk_prob": True, "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48,
        "num_key_value_heads": 4, "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 1e6, "sliding_window": None,
        "tie_word_embeddings": False, "use_sliding_window": False, "vocab_size": 151936}),
    "Qwen2-57B-A14B": (57_408_658_944, {
        "model_type": "qwen2_moe", "decoder_sparse_step": 1, "hidden_size": 3584, "intermediate_size": 18944, "max_position_embeddings": 131072,
        "max_window_layers": 28, "moe_intermediate_size": 2560, "norm_topk_prob": False, "num_attention_heads": 28, "num_experts": 64,
        "num_experts_per_tok": 8, "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "shared_expert_intermediate_size": 20480, "sliding_window": 65536, "tie_word_embeddings": False, "use_sliding_window": False,
        "vocab_size": 151936}),
    "DeepSeek-V2-Lite": (15_706_484_224, {
        **DEEPSEEK, "model_type": "deepseek_v2", "aux_loss_alpha": 0.001, "first_k_dense_replace": 1, "hidden_size": 2048,
        "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2,
        "norm_topk_prob": False, "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 27, "num_key_value_heads": 16,
        "pretraining_tp": 1, "q_lora_rank": None, "rope_scaling": yarn(0.707), "routed_scaling_factor": 1.0, "scoring_func": "softmax",
        "seq_aux": True, "topk_group": 1, "topk_method": "greedy", "vocab_size": 102400}),
    "DeepSeek-V3 in bfloat16": (671_026_419_200, {
        **DEEPSEEK, "model_type": "deepseek_v3", "first_k_dense_replace": 3, "hidden_size": 7168, "intermediate_size": 18432,
        "moe_intermediate_size": 2048, "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": True,
        "num_attention_heads": 128, "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1,
        "q_lora_rank": 1536, "rope_scaling": yarn(1.0), "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "topk_group": 4,
        "topk_method": "noaux_tc", "vocab_size": 129280}),
    "gpt-oss-20b in bfloat16": (20_914_757_184, {
        "model_type": "gpt_oss", "attention_bias": True, "experts_per_token": 4, "head_dim": 64, "hidden_size": 2880,
        "initial_context_length": 4096, "intermediate_size": 2880, "layer_types": ["sliding_attention", "full_attention"] * 12,
        "max_position_embeddings": 131072, "num_attention_heads": 64, "num_experts_per_tok": 4, "num_hidden_layers": 24,
        "num_key_value_heads": 8, "num_local_experts": 32, "rms_norm_eps": 1e-5,
        "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096, "rope_type": "yarn",
                         "truncate": False},
        "rope_theta": 150000, "router_aux_loss_coef": 0.9, "sliding_window": 128, "swiglu_limit": 7.0, "tie_word_embeddings": False,
        "vocab_size": 201088}),
    "GLM-4.5-Air": (106_852_251_264, {
        "model_type": "glm4_moe", "attention_bias": True, "head_dim": 128, "hidden_size": 4096, "partial_rotary_factor": 0.5,
        "intermediate_size": 10944, "max_position_embeddings": 131072, "moe_intermediate_size": 1408, "norm_topk_prob": True,
        "num_attention_heads": 96, "n_group": 1, "topk_group": 1, "n_routed_experts": 128, "n_shared_experts": 1, "routed_scaling_factor": 1.0,
        "num_experts_per_tok": 8, "first_k_dense_replace": 1, "num_hidden_layers": 46, "num_key_value_heads": 8, "num_nextn_predict_layers": 1,
        "rms_norm_eps": 1e-5, "rope_scaling": None, "rope_theta": 1000000, "tie_word_embeddings": False, "use_qk_norm": False,
        "vocab_size": 151552}),
    "Phi-3.5-MoE": (41_873_153_344, {
        "model_type": "phimoe", "attention_bias": True, "hidden_dropout": 0.0, "hidden_size": 4096, "input_jitter_noise": 0.01,
        "intermediate_size": 6400, "lm_head_bias": True, "max_position_embeddings": 131072, "num_attention_heads": 32, "num_experts_per_tok": 2,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 16, "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "rope_scaling": {"long_factor": [2.0] * 64, "long_mscale": 1.243163121016122, "short_factor": [1.0] * 64,
                                               "original_max_position_embeddings": 4096, "short_mscale": 1.243163121016122, "type": "longrope"},
        "rope_theta": 10000.0, "router_aux_loss_coef": 0.0, "router_jitter_noise": 0.01, "sliding_window": 131072, "tie_word_embeddings": False,
        "vocab_size": 32064}),
    "OLMoE-1B-7B": (6_919_161_856, {
        "model_type": "olmoe", "attention_bias": False, "clip_qkv": None, "hidden_size": 2048, "intermediate_size": 1024,
        "max_position_embeddings": 4096, "norm_topk_prob": False, "num_attention_heads": 16, "num_experts": 64, "num_experts_per_tok": 8,
        "num_hidden_layers": 16, "num_key_value_heads": 16, "pad_token_id": 1, "rms_norm_eps": 1e-5, "rope_scaling": None, "rope_theta": 10000.0,
        "router_aux_loss_coef": 0.01, "tie_word_embeddings": False, "vocab_size": 50304}),
    "granite-3.0-3b-a800m": (3_298_793_472, {
        "model_type": "granitemoe", "attention_bias": False, "attention_multiplier": 0.015625, "embedding_multiplier": 12.0, "hidden_size": 1536,
        "intermediate_size": 512, "logits_scaling": 6.0, "max_position_embeddings": 4096, "num_attention_heads": 24, "num_experts_per_tok": 8,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 40, "pad_token_id": 0, "residual_multiplier": 0.22,
        "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 10000, "router_aux_loss_coef": 0.0, "tie_word_embeddings": True,
        "vocab_size": 49155}),
    "Llama-3.2-1B": (1_235_814_400, {
        "model_type": "llama", "attention_bias": False, "head_dim": 64, "hidden_size": 2048, "intermediate_size": 8192,
        "max_position_embeddings": 131072, "mlp_bias": False, "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
        "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                                                                    "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500000.0, "tie_word_embeddings": True, "vocab_size": 128256}),
    "Qwen3-0.6B": (596_049_920, {
        "model_type": "qwen3", "attention_bias": False, "head_dim": 128, "hidden_size": 1024, "intermediate_size": 3072,
        "max_position_embeddings": 40960, "max_window_layers": 28, "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": True,
        "use_sliding_window": False, "vocab_size": 151936}),
    "ERNIE-4.5-21B-A3B": (21_825_437_888, {
        "model_type": "ernie4_5_moe", "hidden_size": 2560, "intermediate_size": 12288, "max_position_embeddings": 131072,
        "num_attention_heads": 20, "num_key_value_heads": 4, "num_hidden_layers": 28, "pad_token_id": 0, "rms_norm_eps": 1e-5,
        "vocab_size": 103424, "rope_theta": 500000, "use_bias": False, "tie_word_embeddings": True, "moe_num_experts": 64,
        "moe_num_shared_experts": 2, "moe_layer_start_index": 1, "moe_layer_end_index": 27, "moe_intermediate_size": 1536,
        "moe_capacity": [64, 64, 64], "moe_gate": "topk", "moe_k": 6, "moe_layer_interval": 1, "moe_use_aux_free": True}),
    "Llama-4-Scout, its text_config": (107_769_861_120, {
        "model_type": "llama4_text", "attention_bias": False, "attention_chunk_size": 8192, "attn_scale": 0.1, "attn_temperature_tuning": 4,
        "floor_scale": 8192, "head_dim": 128, "hidden_size": 5120, "interleave_moe_layer_step": 1, "intermediate_size": 8192,
        "intermediate_size_mlp": 16384, "max_position_embeddings": 10485760, "no_rope_layers": [], "num_attention_heads": 40,
        "num_experts_per_tok": 1, "num_hidden_layers": 48, "num_key_value_heads": 8, "num_local_experts": 16, "rms_norm_eps": 1e-5,
        "rope_scaling": {"factor": 16.0, "high_freq_factor": 1.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
                         "rope_type": "llama3"},
        "rope_theta": 500000.0, "router_jitter_noise": 0.0, "use_qk_norm": True, "vocab_size": 202048}),
}
HUNYUAN = {
    "model_type": "hunyuan_v1_moe", "attention_bias": False, "attention_dropout": 0.1, "head_dim": 128, "hidden_size": 4096,
    "intermediate_size": 3072, "max_position_embeddings": 32768, "moe_intermediate_size": [3072] * 32, "moe_topk": [8] * 32,
    "num_attention_heads": 32, "num_experts": 64, "num_hidden_layers": 32, "num_key_value_heads": 8, "num_shared_expert": [1] * 32,
    "pad_token_id": 127961, "rms_norm_eps": 1e-5, "rope_scaling": {"alpha": 1000.0, "beta_fast": 32, "beta_slow": 1, "factor": 1.0, "mscale": 1.0,
                                                                   "mscale_all_dim": 0.0, "type": "dynamic"},
    "rope_theta": 10000.0, "tie_word_embeddings": True, "use_cla": False, "use_mla": False, "use_qk_norm": True, "vocab_size": 128167}
MINIMAX = {
    "model_type": "minimax_m2", "attn_type_list": [1] * 62, "head_dim": 128, "hidden_size": 3072, "intermediate_size": 1536,
    "max_position_embeddings": 196608, "num_attention_heads": 48, "num_experts_per_tok": 8, "num_hidden_layers": 62, "num_key_value_heads": 8,
    "num_local_experts": 256, "qk_norm_type": "per_layer", "rms_norm_eps": 1e-6, "rope_theta": 5000000, "rotary_dim": 64,
    "scoring_func": "sigmoid", "tie_word_embeddings": False, "use_qk_norm": True, "use_routing_bias": True, "vocab_size": 200064}
MODELS["Hunyuan-A13B without dropout"] = (80_393_183_232, {**HUNYUAN, "attention_dropout": 0.0})
MODELS["MiniMax-M2 in bfloat16"] = (228_689_764_864, {**MINIMAX, "rope_parameters": {"partial_rotary_factor": 0.5}})
REFUSED = {  # name: words of the line, the fields
    "DeepSeek-V3 in FP8": (["quantization_config"], {**MODELS["DeepSeek-V3 in bfloat16"][1], "quantization_config": {"quant_method": "fp8"}}),
    "gpt-oss-20b in MXFP4": (["quantization_config", "Mxfp4Config"],
                             {**MODELS["gpt-oss-20b in bfloat16"][1], "quantization_config": {"quant_method": "mxfp4"}}),
    "Hunyuan-A13B": (["attention_dropout", "set it to 0"], HUNYUAN),
    "MiniMax-M2, as its class would read it": (["rotary_dim", "rope_parameters.partial_rotary_factor"], MINIMAX),
    "Llama-4-Scout with its images": (["model_type", "llama4_text"],
                                      {"model_type": "llama4", "text_config": MODELS["Llama-4-Scout, its text_config"][1]}),
}


def explain(fields):
    with scratch() as d:
        with open(os.path.join(d, "config.json"), "w") as f:
            json.dump({**BF16, **fields}, f)
        return subprocess.run([TRAINER, "explain", "--json", "--model", d], capture_output=True, text=True, timeout=120)


left_out = 0
for name, (parameters, fields) in MODELS.items():
    p = explain(fields)
    if p.returncode == 2 and "is not built into this program" in p.stderr:
        left_out += 1
        continue
    report.check(p.returncode == 0, f"{name}: {p.stderr[-400:]!r}")
    if p.returncode == 0:
        found = sum(math.prod(row["global"]) for row in json.loads(p.stdout)["parameters"])
        report.check(found == parameters, f"{name}: has {found:,} parameters, {parameters:,} wanted")
for name, (words, fields) in REFUSED.items():
    p = explain(fields)
    line = p.stderr.strip()
    report.check(p.returncode == 2 and "\n" not in line and all(w in line for w in words), f"{name}: exit {p.returncode}, {p.stderr[-400:]!r}")
report.check(left_out < len(MODELS), "every family is left out")
print(f"{len(MODELS) - left_out} published configurations read, {left_out} of families that are not built", flush=True)
report.close()
