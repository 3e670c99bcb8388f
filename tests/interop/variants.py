"""Random configurations of every family: what plait makes of each is compared with transformers. Needs torch, transformers and safetensors;
not part of ctest.

usage: MOE_TRAINER=build/cpu/bin/moe_trainer python3 tests/interop/variants.py [FAMILY ...] [--count N] [--seed N] [--plans N] [--greedy] [--keep DIR]

N configurations a family (default 20) are drawn from the fields below. The loss, the logits and all gradients of each are compared on one
rank and under N more plans (default 1); with --greedy also the tokens that greedy decoding adds, with a KV cache and without. A configuration that transformers refuses is left out; one that plait refuses is counted with its
line. Every difference is printed with the fields that were drawn; --keep writes those folders to DIR. Exit 1 where there was one.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "trainer"))
sys.path.insert(0, HERE)
import make_oracle  # noqa: E402
from lib_trainer import BACKEND, DENSE, TRAINER, in_memory, scratch  # noqa: E402

ABSENT = "absent"  # the field is taken out of config.json

SHARED = {
    "vocab_size": [96, 97, 64], "hidden_size": [32, 48, 64], "num_hidden_layers": [1, 2, 3, 4], "num_attention_heads": [4, 8], "num_key_value_heads": [4, 2, 1],
    "rms_norm_eps": [1e-5, 1e-6, 1e-3, ABSENT], "tie_word_embeddings": [False, True, ABSENT], "rope_theta": [ABSENT, 1e4, 5e5], "max_position_embeddings": [256, 64, 10],
    "pad_token_id": [None, 3, ABSENT, -1], "dtype": [ABSENT, "float32"], "torch_dtype": [ABSENT, "bfloat16"], "hidden_act": ["silu", ABSENT], "bos_token_id": [1, None, ABSENT],
    "eos_token_id": [2, None, [2, 3]], "initializer_range": [0.02, 0.1], "use_cache": [True, False], "attention_dropout": [0.0, ABSENT]}
HEADS = {"head_dim": [8, 16, None, ABSENT, 6]}
ROUTED = {"output_router_logits": [False, True, ABSENT], "router_aux_loss_coef": [0.02, ABSENT, 0.0]}
SCALED = [
    ABSENT, None, {"rope_type": "linear", "factor": 4.0}, {"type": "linear", "factor": 2},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}, {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": 1.5},
    {"rope_type": "yarn", "factor": 2.0, "beta_fast": 16, "beta_slow": 2, "mscale": 0.7, "mscale_all_dim": 0.9, "truncate": False},
    {"rope_type": "dynamic", "factor": 4.0}]
# Also: longrope with factors for as many pairs as turn, and Llama 4's llama3, where nothing lies between.
MORE = [{"rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0, "original_max_position_embeddings": 16},
        {"rope_type": "longrope", "original_max_position_embeddings": 16}, {"type": "longrope", "original_max_position_embeddings": 8, "factor": 8.0},
        {"rope_type": "longrope", "original_max_position_embeddings": 64, "attention_factor": 1.25}, {"rope_type": "yarn", "factor": 8, "mscale": 1.0, "mscale_all_dim": 1.0}]
NEW = [ABSENT, {"rope_type": "default", "rope_theta": 777.0}, {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}]


def experts(count="num_experts", chosen="num_experts_per_tok"):
    return {count: [8, 4, 5, 6, 7], chosen: [2, 1, 3, 4]}


FAMILIES = {
    "llama": {**HEADS, "intermediate_size": [48, 40], "attention_bias": [False, True, ABSENT], "mlp_bias": [False, True, ABSENT], "pretraining_tp": [1, ABSENT]},
    "qwen3": {"head_dim": [8, 16], "intermediate_size": [48, 40], "attention_bias": [False, True, ABSENT], "use_sliding_window": [False, True, ABSENT], "sliding_window": [8, None, ABSENT],
              "max_window_layers": [1, 0, 2, ABSENT]},
    "mixtral": {**HEADS, **experts("num_local_experts"), **ROUTED, "intermediate_size": [24, 40], "sliding_window": [None, 8, 1, 4096, ABSENT], "router_jitter_noise": [0.0, ABSENT]},
    "qwen2_moe": {**experts(), **ROUTED, "intermediate_size": [48], "moe_intermediate_size": [24, 16], "shared_expert_intermediate_size": [24, 40], "decoder_sparse_step": [1, 2, 3, ABSENT],
                  "mlp_only_layers": [[], [0], None, [1, 2], ABSENT], "norm_topk_prob": [False, True, ABSENT], "qkv_bias": [True, False, ABSENT], "use_sliding_window": [False, True, ABSENT],
                  "sliding_window": [8, ABSENT], "max_window_layers": [1, 2, ABSENT]},
    "qwen3_moe": {"head_dim": [8, 16, ABSENT, None], **experts(), **ROUTED, "intermediate_size": [48], "moe_intermediate_size": [24, 16], "decoder_sparse_step": [1, 2, 3, ABSENT],
                  "mlp_only_layers": [[], [0], None, [1, 2], ABSENT], "norm_topk_prob": [False, True, ABSENT], "attention_bias": [False, True, ABSENT],
                  "use_sliding_window": [False, True, ABSENT], "sliding_window": [8, None, ABSENT], "max_window_layers": [1, ABSENT]},
    "olmoe": {**experts(), **ROUTED, "intermediate_size": [24, 16], "norm_topk_prob": [False, True, ABSENT], "attention_bias": [False, True, ABSENT], "clip_qkv": [None, ABSENT, 0.5]},
    "granitemoe": {**experts("num_local_experts"), **ROUTED, "intermediate_size": [24, 16], "attention_bias": [False, True, ABSENT], "embedding_multiplier": [1.0, 12.0, ABSENT, 3],
                   "logits_scaling": [1.0, 6.0, ABSENT], "residual_multiplier": [1.0, 0.22, ABSENT], "attention_multiplier": [1.0, 0.0625, ABSENT]},
    "hunyuan_v1_moe": {"head_dim": [8, 16], **experts(chosen="moe_topk"), "intermediate_size": [24, 16], "attention_bias": [False, True, ABSENT]},
    "gpt_oss": {"head_dim": [8, 16], **experts("num_local_experts"), **ROUTED, "intermediate_size": [24, 16], "attention_bias": [True, False, ABSENT], "sliding_window": [8, 1, ABSENT],
                "swiglu_limit": [7.0, ABSENT], "initial_context_length": [4096, ABSENT]},
    "deepseek_v2": {"n_routed_experts": [8, 4, 12], "num_experts_per_tok": [2, 1, 3], "moe_intermediate_size": [24, 16], "intermediate_size": [48], "q_lora_rank": [None, 12, 24],
                    "kv_lora_rank": [16, 12], "qk_nope_head_dim": [8, 16], "qk_rope_head_dim": [8, 4], "v_head_dim": [8, 12], "n_shared_experts": [1, 2, 0, ABSENT],
                    "first_k_dense_replace": [0, 1, 2, 5, ABSENT], "routed_scaling_factor": [1.0, 16.0, ABSENT], "topk_method": ["greedy", "group_limited_greedy", ABSENT], "n_group": [2, 4],
                    "topk_group": [2, 1], "norm_topk_prob": [False, True, ABSENT], "attention_bias": [False, True, ABSENT], "mlp_bias": [False, True, ABSENT], "aux_loss_alpha": [0.001, ABSENT],
                    "seq_aux": [True, ABSENT], "scoring_func": ["softmax", ABSENT], "moe_layer_freq": [1, ABSENT]},
    "deepseek_v3": {"n_routed_experts": [8, 16, 12], "num_experts_per_tok": [2, 1, 3], "moe_intermediate_size": [24, 16], "intermediate_size": [48], "q_lora_rank": [None, 12, 24],
                    "kv_lora_rank": [16, 12], "qk_nope_head_dim": [8, 16], "qk_rope_head_dim": [8, 4], "v_head_dim": [8, 12], "n_shared_experts": [1, 2, 0, ABSENT],
                    "first_k_dense_replace": [0, 1, 2, ABSENT], "routed_scaling_factor": [1.0, 16.0, ABSENT], "n_group": [2, 4, 1], "topk_group": [2, 1], "norm_topk_prob": [True, False, ABSENT, None],
                    "rope_interleave": [True, False, ABSENT, None], "attention_bias": [False, True, ABSENT], "num_nextn_predict_layers": [1, ABSENT], "topk_method": ["noaux_tc", ABSENT]},
    "glm4_moe": {"head_dim": [8, 16, ABSENT], "n_routed_experts": [8, 16, 12], "num_experts_per_tok": [2, 1, 3], "moe_intermediate_size": [24, 16], "intermediate_size": [48],
                 "n_shared_experts": [1, 2, 0, ABSENT], "first_k_dense_replace": [0, 1, 2, 5, ABSENT], "routed_scaling_factor": [1.0, 2.5, ABSENT], "n_group": [1, 2, 4, ABSENT],
                 "topk_group": [1, ABSENT, 2], "norm_topk_prob": [True, False, ABSENT], "use_qk_norm": [False, True, ABSENT], "attention_bias": [False, True, ABSENT],
                 "partial_rotary_factor": [0.5, ABSENT, 1.0, 0.25]},
    "minimax_m2": {"head_dim": [8, 16], **experts("num_local_experts"), **ROUTED, "intermediate_size": [24, 16], "partial_rotary_factor": [ABSENT, 0.5, 1.0], "router_jitter_noise": [0.0, ABSENT]},
    "phimoe": {"head_dim": [ABSENT, 8], "num_local_experts": [8, 4, 5], "num_experts_per_tok": [2, ABSENT], **ROUTED, "intermediate_size": [24, 16], "attention_bias": [False, True, ABSENT],
               "lm_head_bias": [False, True, ABSENT], "router_jitter_noise": [0.01, 0.3, ABSENT], "input_jitter_noise": [0.0, 0.01, ABSENT], "sliding_window": [None, 8, 4096, ABSENT]},
    "ernie4_5_moe": {"head_dim": [ABSENT, 8, 16], "moe_num_experts": [8, 4, 5, 6], "moe_k": [2, 1, 3], **ROUTED, "intermediate_size": [48], "moe_intermediate_size": [24, 16],
                     "moe_num_shared_experts": [0, 1, 2, ABSENT], "moe_layer_start_index": [0, 1, 2, ABSENT], "moe_layer_end_index": [-1, 1, 2, ABSENT], "moe_layer_interval": [1, 2, ABSENT],
                     "moe_norm_min": [1e-12, 0.3, ABSENT], "use_bias": [False, True, ABSENT]},
    "llama4_text": {"head_dim": [8, 16], "num_local_experts": [8, 4, 5], "num_experts_per_tok": [1, 2, 3, ABSENT], **ROUTED, "intermediate_size": [24, 16], "intermediate_size_mlp": [48],
                    "interleave_moe_layer_step": [1, 2, ABSENT], "moe_layers": [ABSENT, None, [0], [1, 2]], "use_qk_norm": [True, False, ABSENT], "no_rope_layer_interval": [4, 2, ABSENT],
                    "no_rope_layers": [ABSENT, None, [], [1, 0, 1, 1, 0]], "attention_chunk_size": [8, 5, ABSENT, 1], "attn_temperature_tuning": [True, False, ABSENT, 4], "floor_scale": [4, ABSENT],
                    "attn_scale": [0.1, 0.7, ABSENT], "attention_bias": [False, True, ABSENT]},
}


def turning(config):
    """Columns of a head that have the rotary embedding."""
    head = config.get("qk_rope_head_dim") or config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return int(head * config.get("partial_rotary_factor", 0.5 if config["model_type"] == "glm4_moe" else 1.0))


def draw(family, random_):
    """Fields of a config.json: those that must be there, and of the others more often the first choice than another."""
    bold = random_.random() < 0.35
    config = {"model_type": family}
    for field, choices in {**SHARED, **FAMILIES[family]}.items():
        value = choices[0] if not bold and random_.random() < 0.6 else random_.choice(choices)
        if value != ABSENT:
            config[field] = value
    if random_.random() < 0.4:
        scaled = random_.choice([*SCALED, *MORE] if family != "phimoe" else [*MORE, *SCALED[4:7]])
        if scaled not in (ABSENT, None):
            scaled = dict(scaled)
            if "longrope" in scaled.values():
                pairs = turning(config) // 2
                scaled |= {"short_factor": [1.0 + 0.25 * i for i in range(pairs)], "long_factor": [2.0 ** i for i in range(pairs)]}
            if family == "phimoe":
                scaled |= {"short_mscale": 1.1, "long_mscale": 1.3}
            if family == "hunyuan_v1_moe" and scaled.get("rope_type") == "dynamic" and random_.random() < 0.7:
                scaled["alpha"] = random_.choice([1000.0, 4.0])
            if random_.random() < 0.2:
                config["original_max_position_embeddings"] = random_.choice([8, 32])
        if scaled != ABSENT:
            config["rope_scaling"] = scaled
    elif random_.random() < 0.5:
        new = random_.choice(NEW)
        if new != ABSENT:
            config["rope_parameters"] = dict(new)
            config.pop("rope_theta", None)
    if family == "hunyuan_v1_moe" and random_.random() < 0.2:
        config["moe_topk"] = [random_.choice([1, 2, config["moe_topk"]]) for _ in range(config["num_hidden_layers"])]
    if config["num_key_value_heads"] > config["num_attention_heads"] or family.startswith("deepseek"):
        config["num_key_value_heads"] = config["num_attention_heads"]
    if config.get("use_sliding_window") and family in ("qwen3", "qwen2_moe") and random_.random() < 0.4:
        config["layer_types"] = [random_.choice(["full_attention", "sliding_attention"]) for _ in range(config["num_hidden_layers"])]
    if family == "gpt_oss" and random_.random() < 0.4:
        config["layer_types"] = [random_.choice(["full_attention", "sliding_attention"]) for _ in range(config["num_hidden_layers"])]
    if family == "llama4_text" and random_.random() < 0.3:
        config["layer_types"] = [random_.choice(["full_attention", "chunked_attention"]) for _ in range(config["num_hidden_layers"])]
    return config


PLANS = [["--mesh", "tp=2"], ["--mesh", "fsdp=2"], ["--mesh", "tp=2", "--sp"], ["--mesh", "fsdp=2,tp=2", "--sp"]]
WITH_EXPERTS = [["--mesh", "tp=2", "--ep", "--ep-mode", "gather"], ["--mesh", "tp=2", "--ep", "--ep-mode", "dispatch"], ["--mesh", "fsdp=2,ep=2", "--ep"],
                ["--mesh", "tp=2", "--sp", "--ep"], ["--mesh", "fsdp=2,tp=2,ep=4", "--ep", "--sp"]]


def compare(dump, want, loss, got_loss, family, vocabulary):
    """Sentences on what differs."""
    import torch
    from safetensors.torch import load_file
    ours = load_file(dump)
    wrong = []
    if not abs(got_loss - loss) <= 4e-6 * max(1.0, abs(loss)):
        wrong.append(f"loss {got_loss} against {loss}")
    logits, theirs = ours.pop("logits"), want["logits"]
    if "attention_mask" in want:
        keep = want["attention_mask"].bool()
        logits, theirs = logits.reshape(theirs.shape)[keep], theirs[keep]
    error = (logits.flatten().double() - theirs.flatten().double()).abs().max().item()
    if not error <= 5e-6 * max(1.0, theirs.abs().max().item()):
        wrong.append(f"logits by {error:.2e} of {theirs.abs().max().item():.2e}")
    theirs = {in_memory(family, n): v for n, v in want.items() if n.startswith("grad.")}
    theirs = {n: v for n, v in theirs.items() if v.numel() > 0}
    if sorted(ours) != sorted(theirs):
        wrong.append(f"gradients missing {sorted(set(theirs) - set(ours))[:3]} or too many {sorted(set(ours) - set(theirs))[:3]}")
    whole = sum(v.double().square().sum().item() for v in theirs.values()) ** 0.5
    for n, v in theirs.items():
        if n not in ours:
            continue
        if ours[n].shape != v.shape:
            wrong.append(f"{n} has shape {list(ours[n].shape)}")
            continue
        d, w = (ours[n].double() - v.double()).norm().item(), v.double().norm().item()
        # What cancels out, such as a bias of keys, is rounding on both sides: nothing beside the gradient as a whole.
        if not d <= 2e-5 * w + 3e-7 * whole + 1e-8 * v.numel() ** 0.5:
            wrong.append(f"{n} by {d:.2e} of {w:.2e}")
    return wrong


def decode(model, prompt, count):
    """Greedy ids, each from the whole text so far, and by how much each leads the second best."""
    import torch
    ids, leads = prompt[None], []
    with torch.no_grad():
        for _ in range(count):
            best = model(input_ids=ids, use_cache=False).logits[0, -1].topk(2)
            leads.append((best.values[0] - best.values[1]).item())
            ids = torch.cat([ids, best.indices[:1, None]], 1)
    return ids[0].tolist(), leads


def compare_text(folder, prompt, want, leads, ends, flags):
    """Sentences on what differs, up to the first token that was nearly another, or that ends the text."""
    clear = next((i for i, lead in enumerate(leads) if lead < 1e-3), len(leads))
    clear = min(clear, next((i + 1 for i, token in enumerate(want[len(prompt):]) if token in ends), clear))
    wrong = []
    for cache in ([], ["--no-cache"]):
        p = subprocess.run([TRAINER, "generate", "--model", folder, "--prompt-ids", ",".join(map(str, prompt)), "--max-new-tokens", str(len(leads)),
                            "--backend", BACKEND, *flags, *cache], capture_output=True, text=True, errors="replace", timeout=120)
        if p.returncode:
            wrong.append(f"generate {cache}: exit {p.returncode}: {p.stderr[-200:]}")
            continue
        got = json.loads(p.stdout.strip().splitlines()[-1])["ids"]
        if got[:len(prompt) + clear] != want[:len(prompt) + clear]:
            wrong.append(f"generate {cache}: {got[len(prompt):]} against {want[len(prompt):]}, the first {clear} of which are clear")
    return wrong


def one(family, config, choose, number, plans, keep, count, greedy=False):
    """Compares one configuration; adds to count."""
    import torch
    from safetensors.torch import save_file
    labelled = choose.random() < 0.2
    rows, columns = (1, choose.choice([2, 3, 17, 21])) if choose.random() < 0.3 else (2, choose.choice([20, 13, 8]))
    if labelled:
        rows, columns = 2, 20
    given, dtype, shards = choose.random() < 0.6, choose.choice(["float32"] * 6 + ["bfloat16", "float16"]), 20000 if choose.random() < 0.2 else "5GB"
    with scratch() as d:
        folder, tokens, dump = (os.path.join(d, n) for n in ("model", "tokens.safetensors", "dump.safetensors"))
        try:
            model = make_oracle.build(config, number)
            batch = make_oracle.draw_tokens(config["vocab_size"], rows, columns, number, labelled)
            make_oracle.save(model, folder, config if given else None, dtype, shards)
            result = make_oracle.forward(model, batch)
            if not torch.isfinite(result.loss):
                raise ValueError("the loss is not finite")
            result.loss.backward()
        except Exception as e:
            count.setdefault("theirs", {}).setdefault(type(e).__name__ + ": " + " ".join(str(e).split())[:110], []).append(number)
            return
        want = batch | {"logits": result.logits.detach().contiguous()} | make_oracle.gradients(model)
        save_file(batch, tokens)
        if greedy:
            prompt = batch["input_ids"][0, :min(8, columns)]
            room = 16 if "dynamic" in str(config.get("rope_scaling")) else config["max_position_embeddings"] - len(prompt)
            text_ids, leads = decode(model.eval(), prompt, min(16, room))
            prompt, ends = prompt.tolist(), config.get("eos_token_id", [])
            ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
        more = [*PLANS, *([] if family in DENSE else WITH_EXPERTS)]
        for flags in [[], *choose.sample(more, plans)]:
            p = subprocess.run([TRAINER, "eval", "--model", folder, "--tokens", tokens, "--dump", dump, "--backend", BACKEND, *flags], capture_output=True, text=True, errors="replace", timeout=120)
            line = p.stderr.strip().splitlines()[-1] if p.stderr.strip() else ""
            if p.returncode == 2:
                if "plait[indivisible]" in line or "no multiple of" in line and flags or ("rows" in line and flags):
                    count["indivisible"] = count.get("indivisible", 0) + 1
                    continue
                text = line.replace(folder, "")
                count.setdefault("ours", {}).setdefault(text[:170], []).append(number)
                break
            wrong = [f"exit {p.returncode}: {p.stderr[-300:]}"] if p.returncode else compare(dump, want, result.loss.item(), json.loads(p.stdout.strip().splitlines()[-1])["loss"], family, config["vocab_size"])
            if greedy and not p.returncode:
                wrong += compare_text(folder, prompt, text_ids, leads, ends, flags)
            count["compared"] = count.get("compared", 0) + 1
            if wrong:
                count["different"] = count.get("different", 0) + 1
                print(f"DIFFERENT {family} {number} {flags} {'as given' if given else 'as saved'} {dtype} rows {rows} columns {columns} labelled {labelled}\n  {wrong[:4]}\n  {json.dumps(config)}", flush=True)
                if keep:
                    kept = os.path.join(keep, f"{family}_{number}")
                    shutil.rmtree(kept, ignore_errors=True)
                    shutil.copytree(folder, kept)
                    save_file(want, os.path.join(kept, "oracle.safetensors"))
                break


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", metavar="FAMILY", nargs="*")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plans", type=int, default=1)
    parser.add_argument("--greedy", action="store_true")
    parser.add_argument("--keep")
    o = parser.parse_args()
    import warnings

    import torch
    import transformers
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity(50)
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    bad = 0
    for family in o.families or FAMILIES:
        count = {}
        for number in range(o.seed, o.seed + o.count):
            choose = random.Random(f"{family} {number}")
            one(family, draw(family, choose), choose, number, o.plans, o.keep, count, o.greedy)
        bad += count.get("different", 0)
        print(f"{family}: {count.get('compared', 0)} comparisons, {count.get('different', 0)} different, {count.get('indivisible', 0)} plans that do not divide", flush=True)
        for what, whose in (("ours", "plait refuses"), ("theirs", "transformers refuses")):
            for text, numbers in sorted(count.get(what, {}).items()):
                print(f"  {whose} {len(numbers)}: {text} (such as {numbers[0]})", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
