#!/usr/bin/env python3
"""A training step on one GPU, plait beside another program, one after the other on the same machine.

The model: the first layers of Qwen3-30B-A3B's shape (hidden 2048, 32 heads of 128 and 4 for keys, 128 experts of 768, 8 a token,
vocabulary 151936) with random bf16 weights, and random tokens. Every mode is a process of its own.

usage: gpu_compare.py --trainer build/gpu/bin/moe_trainer [--peer SCRIPT] [--layers 4] [--batch 4] [--seq 4096] [--steps 8]
                      [--modes bf16,bf16-states,peer,peer-compile] [--folder DIR]
--peer SCRIPT: a Python program that takes --layers, --batch, --seq and --compile, trains the same shape and prints JSON lines, the last
  with tokens_per_s, step_s and peak_GiB.
--folder DIR: where the model is written, and read from if it is there (default: a temporary folder; 6.3 GB for 4 layers).
Prints one table row a mode: the median step after the first two, tokens/s, the peak of the program's tensors (plait: memory_peak_bytes of
the log; PyTorch: max_memory_allocated) and the peak that nvidia-smi saw in use.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading

HIDDEN, HEADS, KEY_HEADS, WIDTH, EXPERTS, TOP, INNER, VOCABULARY = 2048, 32, 4, 128, 128, 8, 768, 151936


def write_model(folder, layers, batch, seq):
    import torch
    from safetensors.torch import save_file
    os.makedirs(folder, exist_ok=True)
    config = dict(architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", dtype="bfloat16", attention_bias=False, attention_dropout=0.0,
                  decoder_sparse_step=1, head_dim=WIDTH, hidden_act="silu", hidden_size=HIDDEN, initializer_range=0.02, intermediate_size=6144,
                  max_position_embeddings=40960, max_window_layers=48, mlp_only_layers=[], moe_intermediate_size=INNER, norm_topk_prob=True,
                  num_attention_heads=HEADS, num_experts=EXPERTS, num_experts_per_tok=TOP, num_hidden_layers=layers, num_key_value_heads=KEY_HEADS,
                  output_router_logits=False, rms_norm_eps=1e-6, rope_theta=1000000.0, router_aux_loss_coef=0.001, sliding_window=None,
                  tie_word_embeddings=False, use_sliding_window=False, vocab_size=VOCABULARY)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device=device).manual_seed(1)

    def random(*shape):
        return (torch.randn(*shape, device=device, generator=generator, dtype=torch.float32) * 0.02).to(torch.bfloat16).cpu()

    def ones(n):
        return torch.ones(n, dtype=torch.bfloat16)
    w = {"model.embed_tokens.weight": random(VOCABULARY, HIDDEN), "lm_head.weight": random(VOCABULARY, HIDDEN), "model.norm.weight": ones(HIDDEN)}
    for layer in range(layers):
        p = f"model.layers.{layer}."
        w[p + "input_layernorm.weight"], w[p + "post_attention_layernorm.weight"] = ones(HIDDEN), ones(HIDDEN)
        for name, rows in (("q", HEADS), ("k", KEY_HEADS), ("v", KEY_HEADS)):
            w[p + f"self_attn.{name}_proj.weight"] = random(rows * WIDTH, HIDDEN)
        w[p + "self_attn.o_proj.weight"] = random(HIDDEN, HEADS * WIDTH)
        w[p + "self_attn.q_norm.weight"], w[p + "self_attn.k_norm.weight"] = ones(WIDTH), ones(WIDTH)
        w[p + "mlp.gate.weight"] = random(EXPERTS, HIDDEN)
        up, down = random(EXPERTS, 2 * INNER, HIDDEN), random(EXPERTS, HIDDEN, INNER)
        for e in range(EXPERTS):
            q = p + f"mlp.experts.{e}."
            w[q + "gate_proj.weight"], w[q + "up_proj.weight"] = up[e, :INNER].clone(), up[e, INNER:].clone()
            w[q + "down_proj.weight"] = down[e].clone()
    save_file(w, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    ids = torch.randint(0, VOCABULARY, (batch, seq), dtype=torch.int64, generator=torch.Generator().manual_seed(2))
    save_file({"input_ids": ids}, os.path.join(folder, "tokens.safetensors"))
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f, indent=1)


class memory_in_use:
    """The most memory that nvidia-smi reports while the block runs, in GiB."""

    def __enter__(self):
        self.most = 0.0
        try:
            self.process = subprocess.Popen(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "200"],
                                            stdout=subprocess.PIPE, text=True)
        except OSError:
            self.process = None
            return self
        self.thread = threading.Thread(target=self.read)
        self.thread.start()
        return self

    def read(self):
        for line in self.process.stdout:
            if line.split("\n")[0].strip().isdigit():
                self.most = max(self.most, int(line) / 1024)

    def __exit__(self, *_):
        if self.process is not None:
            self.process.terminate()
            self.thread.join()


def run_ours(options, folder, dtype):
    log = os.path.join(folder, "log-" + dtype)
    command = [options.trainer, "train", "--backend", "cuda", "--model", folder, "--tokens", os.path.join(folder, "tokens.safetensors"),
               "--dtype", dtype, "--steps", str(options.steps), "--lr", "1e-4", "--clip", "1", "--log", log]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(log) as f:
        rows = [json.loads(line) for line in f]
    steady = rows[2:] or rows
    seconds = statistics.median(r["seconds"] for r in steady)
    print(f"  {dtype}: losses " + " ".join(f"{r['loss']:.4f}" for r in rows) + ", seconds " + " ".join(f"{r['seconds']:.4f}" for r in rows), flush=True)
    return seconds, rows[-1]["tokens"] / seconds, max(r["memory_peak_bytes"] for r in rows) / 2**30


def run_peer(options, compiled):
    command = [sys.executable, options.peer, "--layers", str(options.layers), "--batch", str(options.batch), "--seq", str(options.seq)]
    out = subprocess.run(command + (["--compile"] if compiled else []), check=True, stdout=subprocess.PIPE, text=True).stdout
    row = json.loads(out.strip().splitlines()[-1])
    return row["step_s"], row["tokens_per_s"], row["peak_GiB"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", default="build/gpu/bin/moe_trainer")
    parser.add_argument("--peer", default="")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seq", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--modes", default="peer,bf16,bf16-states")
    parser.add_argument("--folder", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or temporary
        modes = options.modes.split(",")
        if any(not m.startswith("peer") for m in modes) and not os.path.exists(os.path.join(folder, "config.json")):
            # In a process of its own, so that PyTorch's memory on the GPU is given back.
            subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r}); "
                            f"import gpu_compare; gpu_compare.write_model({folder!r}, {options.layers}, {options.batch}, {options.seq})"], check=True)
        rows = []
        for mode in modes:
            if mode.startswith("peer") and not options.peer:
                sys.exit("--modes names a peer, but --peer SCRIPT is missing")
            with memory_in_use() as memory:
                step, rate, peak = run_peer(options, mode == "peer-compile") if mode.startswith("peer") else run_ours(options, folder, mode)
            rows.append(f"| {mode} | {1e3 * step:.1f} | {rate:.0f} | {peak:.1f} | {memory.most:.1f} |")
        print("| mode | step, ms | tokens/s | peak of tensors, GiB | peak in use, GiB |\n| --- | --- | --- | --- | --- |")
        print("\n".join(rows))


if __name__ == "__main__":
    main()
