#!/usr/bin/env python3
"""A training step with tokens gathered to the experts' ranks beside one with tokens dispatched, in one run on the CPU, ranks as threads.

usage: ep_modes.py [--trainer build/cpu/bin/moe_trainer] [--rounds 3] [--steps 4]
Prints a table row a shape and mesh: milliseconds of a step in both modes (the best of interleaved rounds), their ratio, the bytes that a rank
sends for its layers' activations, the most memory that a rank has used (MiB), and what the trainer chooses by itself.
"""
import argparse
import array
import json
import os
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "trainer"))
from lib_trainer import write_safetensors  # noqa: E402

SHAPES = {
    # name: hidden, layers, heads, kv heads, head dim, experts, top k, width, vocabulary, B, S
    "top 1 of 8": (256, 2, 8, 4, 32, 8, 1, 512, 512, 8, 128),
    "top 2 of 8": (256, 2, 8, 4, 32, 8, 2, 512, 512, 8, 128),
    "top 4 of 16": (256, 2, 8, 4, 32, 16, 4, 256, 512, 8, 128),
}
MESHES = {
    "sp 2": "--mesh tp=2 --sp --ep", "fsdp 2 ep 2": "--mesh fsdp=2,ep=2 --ep", "tp 2": "--mesh tp=2 --ep",
    "sp 4": "--mesh tp=4 --sp --ep", "fsdp 4 ep 4": "--mesh fsdp=4,ep=4 --ep", "tp 4": "--mesh tp=4 --ep",
}


def model(folder, shape):
    hidden, layers, heads, kv, d, experts, k, width, vocabulary, _, _ = shape
    rng = random.Random(1)
    pool = array.array("f", [rng.gauss(0, 0.02) for _ in range(100003)])

    def noise(*extent):
        n = 1
        for e in extent:
            n *= e
        out = array.array("f")
        while len(out) < n:
            out.extend(pool[rng.randrange(len(pool)):])
        return ("F32", list(extent), out[:n].tobytes())

    def ones(n):
        return ("F32", [n], [1.0] * n)
    w = {"model.embed_tokens.weight": noise(vocabulary, hidden), "lm_head.weight": noise(vocabulary, hidden), "model.norm.weight": ones(hidden)}
    for i in range(layers):
        p = f"model.layers.{i}."
        w[p + "input_layernorm.weight"], w[p + "post_attention_layernorm.weight"] = ones(hidden), ones(hidden)
        for name, rows in (("q", heads), ("k", kv), ("v", kv)):
            w[p + f"self_attn.{name}_proj.weight"] = noise(rows * d, hidden)
        w[p + "self_attn.o_proj.weight"] = noise(hidden, heads * d)
        w[p + "block_sparse_moe.gate.weight"] = noise(experts, hidden)
        for e in range(experts):
            q = p + f"block_sparse_moe.experts.{e}."
            w[q + "w1.weight"], w[q + "w3.weight"], w[q + "w2.weight"] = noise(width, hidden), noise(width, hidden), noise(hidden, width)
    write_safetensors(os.path.join(folder, "model.safetensors"), w)
    config = {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": hidden, "num_hidden_layers": layers,
              "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": d, "num_local_experts": experts, "num_experts_per_tok": k,
              "intermediate_size": width, "vocab_size": vocabulary, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False,
              "sliding_window": None, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}, "attention_dropout": 0.0}
    json.dump(config, open(os.path.join(folder, "config.json"), "w"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trainer", default="build/cpu/bin/moe_trainer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    a = parser.parse_args()
    print("| model | mesh | gather ms | dispatch ms | gather/dispatch | bytes sent | | MiB | | chosen |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as d:
            model(d, shape)
            tokens, log = os.path.join(d, "tokens.safetensors"), os.path.join(d, "log")
            b, s = shape[-2:]
            rng = random.Random(2)
            write_safetensors(tokens, {"input_ids": ("I64", [b, s], [rng.randrange(shape[8]) for _ in range(b * s)])})
            for mesh, flags in MESHES.items():
                best, sent, memory = {}, {}, {}
                common = ["--model", d, "--tokens", tokens, *flags.split()]
                for _ in range(a.rounds):
                    for mode in ("gather", "dispatch"):
                        subprocess.run([a.trainer, "train", *common, "--steps", str(a.steps), "--log", log, "--backend", "cpu", "--ep-mode", mode],
                                       check=True, capture_output=True)
                        rows = [json.loads(line) for line in open(log)]
                        best[mode] = min(best.get(mode, 1e9), *(r["seconds"] for r in rows))
                        memory[mode] = max(r["memory_peak_bytes"] for r in rows) / 2**20
                for mode in ("gather", "dispatch"):
                    out = subprocess.run([a.trainer, "explain", *common, "--json", "--ep-mode", mode], check=True, capture_output=True, text=True).stdout
                    sent[mode] = sum(c["times"] * c["ring_bytes"] for c in json.loads(out)["collectives"] if c["part"] == "layer activations")
                out = subprocess.run([a.trainer, "explain", *common, "--json"], check=True, capture_output=True, text=True).stdout
                chosen = "dispatch" if any(c["kind"] == "all_to_all" for c in json.loads(out)["collectives"]) else "gather"
                g, x = best["gather"], best["dispatch"]
                print(f"| {name} | {mesh} | {1e3 * g:.0f} | {1e3 * x:.0f} | {g / x:.2f} | {sent['gather']} | {sent['dispatch']} | {memory['gather']:.0f} | {memory['dispatch']:.0f} | {chosen} |",
                      flush=True)


if __name__ == "__main__":
    main()
