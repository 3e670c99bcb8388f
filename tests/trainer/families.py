"""Families beyond the first two: weights out and in again byte for byte, a run that is saved and resumed goes on as if it had not
stopped, --ep of a dense model is refused, fields of config.json that would be computed otherwise are refused by name.

Usage: families.py [MODEL ...]   (default: all)
"""
import json
import os
import shutil
import sys

from lib_trainer import DENSE, ORACLES, SPARSE, Report, Safetensors, difference, in_memory, plans_of, run, scratch, write_safetensors

MODELS = sys.argv[1:] or [*DENSE, *SPARSE]
report = Report()


def folder(model):
    return os.path.join(ORACLES, model)


def tokens_of(model):
    return os.path.join(folder(model), "oracle.safetensors")


def same_tensors(a, b):
    a, b = Safetensors(a), Safetensors(b)
    return sorted(a.names()) == sorted(b.names()) and all(a.shape(n) == b.shape(n) and a.read(n).tobytes() == b.read(n).tobytes() for n in a.names())


def plans(model):
    some = [[], ["--mesh", "tp=2"], ["--mesh", "fsdp=2,tp=2", "--sp"]]
    return some if model in DENSE else [*some, ["--mesh", "fsdp=2,tp=2,ep=4", "--ep"], ["--mesh", "tp=2", "--sp", "--ep", "--ep-mode", "dispatch"]]


def out_and_in(model):
    for flags in plans(model):
        with scratch() as d:
            out = os.path.join(d, "out")
            run("train", "--model", folder(model), "--tokens", tokens_of(model), "--steps", 0, "--export", out, *flags)
            report.check(same_tensors(os.path.join(out, "model.safetensors"), os.path.join(folder(model), "model.safetensors")),
                         f"{model} {flags}: exported weights are not those of the model")


def resume(model):
    """Saved under one plan: continued under the same, every number is the same; under others, the export is that of the checkpoint."""
    some = plans(model)
    for i, flags in enumerate(some):
        other = some[(i + 1) % len(some)]
        with scratch() as d:
            straight, first, second, moved, held = (os.path.join(d, n) for n in ("straight", "first", "second", "moved", "held"))
            common = ["train", "--model", folder(model), "--tokens", tokens_of(model), "--clip", 1]
            run(*common, "--steps", 4, "--export", straight, *flags)
            run(*common, "--steps", 2, "--save", first, "--export", held, *flags)
            run("train", "--tokens", tokens_of(model), "--clip", 1, "--steps", 4, "--resume", first, "--export", second, *flags)
            report.check(same_tensors(os.path.join(straight, "model.safetensors"), os.path.join(second, "model.safetensors")),
                         f"{model} {flags}: resumed, other weights come out")
            run("train", "--tokens", tokens_of(model), "--steps", 0, "--resume", first, "--export", moved, *other)
            report.check(same_tensors(os.path.join(held, "model.safetensors"), os.path.join(moved, "model.safetensors")),
                         f"{model} saved under {flags}, loaded under {other}: other weights")


def no_experts(model):
    _, err = run("eval", "--model", folder(model), "--tokens", tokens_of(model), "--mesh", "tp=2", "--ep", expect=2)
    family = json.load(open(os.path.join(folder(model), "config.json")))["model_type"]
    report.check(len(err.strip().splitlines()) == 1 and f"'{family}'" in err and "--ep" in err, f"{model}: --ep: {err}")


REFUSED = {
    "llama": {"attention_bias": 1, "mlp_bias": "yes", "pad_token_id": 96, "rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}},
    "granitemoe": {"embedding_multiplier": 0, "logits_scaling": "8", "num_experts_per_tok": 9},
    "qwen2_moe": {"layer_types": ["sliding_attention", "full_attention"], "mlp_layer_types": ["sparse", "sparse"]},
    "hunyuan_v1_moe": {"moe_topk": [2], "num_experts": [8, 8], "rope_parameters": {"rope_type": "dynamic", "alpha": 1000.0}},
    "gpt_oss": {"quantization_config": {"quant_method": "mxfp4"}, "layer_types": ["sliding_attention", "chunked_attention"], "sliding_window": None,
                "rope_parameters": {"rope_type": "proportional", "factor": 2.0}},
    "llama4_text": {"layer_types": ["chunked_attention"], "attention_chunk_size": None, "no_rope_layers": [1], "moe_layers": 1, "floor_scale": 0},
    "olmoe": {"clip_qkv": 0},
    "deepseek_v2": {"topk_method": "noaux_tc", "scoring_func": "sigmoid", "moe_layer_freq": 2, "num_key_value_heads": 4, "n_group": 3,
                    "topk_group": 5, "q_lora_rank": 0, "qk_rope_head_dim": 7},
    "deepseek_v2_bias": {"n_shared_experts": 0},
    "deepseek_v3": {"topk_method": "greedy", "scoring_func": "softmax", "moe_layer_freq": 2, "num_key_value_heads": 4, "n_group": 8, "topk_group": 5,
                    "norm_topk_prob": 1, "rope_interleave": "no"},
    "qwen3": {"layer_types": ["full_attention", "sliding_attention"]},
    "glm4_moe": {"n_group": 3, "topk_group": 2, "num_experts_per_tok": 9, "n_shared_experts": -1, "hidden_act": "gelu", "attention_dropout": 0.1,
                 "n_routed_experts": "8"},
    "minimax_m2": {"router_jitter_noise": 0.1, "rotary_dim": 4, "hidden_act": "gelu", "partial_rotary_factor": 0.4},
    "phimoe": {"num_experts_per_tok": 3, "sliding_window": 0, "router_jitter_noise": -0.1, "partial_rotary_factor": 0.5,
               "rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}},
    "ernie4_5_moe": {"moe_k": 9, "moe_num_shared_experts": -1, "moe_layer_interval": 0, "use_bias": "yes", "partial_rotary_factor": 0.5},
}


def refused(model):
    for field, value in REFUSED.get(model, {}).items():
        with scratch() as d:
            changed = os.path.join(d, "model")
            shutil.copytree(folder(model), changed)
            path = os.path.join(changed, "config.json")
            config = json.load(open(path))
            config[field] = value
            json.dump(config, open(path, "w"))
            _, err = run("eval", "--model", changed, "--tokens", tokens_of(model), expect=2)
            report.check(len(err.strip().splitlines()) == 1 and field in err, f"{model}: {field}: {err}")


def multipliers():
    """Granite's numbers other than 1, undone by weights: what comes out is what the oracle's ones give, gradients as the chain rule says."""
    model = "granitemoe"
    oracle, weights = Safetensors(tokens_of(model)), Safetensors(os.path.join(folder(model), "model.safetensors"))
    numbers = {"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 6.0, "attention_multiplier": 0.25}
    factor = {"embed_tokens": 1 / 12.0, "o_proj": 1 / 0.22, "output_linear": 1 / 0.22, "lm_head": 6.0, "q_proj": 4.0}
    back = {"embed_tokens": 1 / 12.0, "o_proj": 1 / 0.22, "experts.down_proj": 1 / 0.22, "lm_head": 6.0, "q_proj": 4.0}

    def by_name(table, name):
        return next((f for part, f in table.items() if part in name), 1.0)
    for plan, flags in plans_of(model):
        with scratch() as d:
            changed, dump = os.path.join(d, "model"), os.path.join(d, "dump.safetensors")
            os.mkdir(changed)
            config = json.load(open(os.path.join(folder(model), "config.json")))
            json.dump(config | numbers, open(os.path.join(changed, "config.json"), "w"))
            write_safetensors(os.path.join(changed, "model.safetensors"),
                              {n: ("F32", weights.shape(n), [by_name(factor, n) * v for v in weights.read(n)]) for n in weights.names()})
            run("eval", "--model", changed, "--tokens", tokens_of(model), "--dump", dump, *flags)
            ours = Safetensors(dump)
            error = max(abs(a - b) for a, b in zip(ours.read("logits"), oracle.read("logits")))
            report.check(error <= 5e-6, f"multipliers under {plan}: logits differ by {error}")
            for name in oracle.names():
                if name.startswith("grad."):
                    mine = in_memory(model, name)
                    d_norm, w_norm = difference([by_name(back, mine) * v for v in ours.read(mine)], oracle.read(name))
                    report.check(d_norm <= 1e-5 * w_norm, f"multipliers under {plan}: {name} differs by {d_norm} of {w_norm}")


for model in MODELS:
    out_and_in(model)
    resume(model)
    refused(model)
    if model in DENSE:
        no_experts(model)
    if model == "granitemoe":
        multipliers()
    print(model, flush=True)
report.close()
