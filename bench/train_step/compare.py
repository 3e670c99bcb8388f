#!/usr/bin/env python3
"""A training step on the CPU, plait beside PyTorch, in one run: the same Mixtral with the same weights, tokens and AdamW.

The PyTorch side is transformers' eager model in plain torch: fused experts [E, 2I, H] visited in a loop, scaled_dot_product_attention,
torch.optim.AdamW (fused where torch has it, else foreach), clip_grad_norm_. Losses of both are compared first.

usage: compare.py [--trainer build/cpu/bin/moe_trainer] [--rounds 3]
Prints one table row a shape: tokens/s of both (medians over interleaved rounds) and their ratio.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    sys.exit("compare.py needs PyTorch; install it to compare")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "trainer"))
from lib_trainer import write_safetensors  # noqa: E402

SHAPES = {
    # name: hidden, layers, heads, kv heads, head dim, experts, top k, width, vocabulary, B, S, threads, steps, wanted ratio
    "oracle size": (32, 2, 8, 4, 8, 8, 2, 24, 96, 2, 20, 1, 200, 8.0),
    "hidden 512": (512, 4, 8, 4, 64, 8, 2, 1024, 1024, 4, 256, 2, 6, 1.0),
}


def weights(hidden, layers, heads, kv, d, experts, width, vocabulary):
    g = torch.Generator().manual_seed(0)
    rand = lambda *s: torch.randn(*s, generator=g) * 0.02  # noqa: E731
    w = {"model.embed_tokens.weight": rand(vocabulary, hidden), "lm_head.weight": rand(vocabulary, hidden), "model.norm.weight": torch.ones(hidden)}
    for i in range(layers):
        p = f"model.layers.{i}."
        w[p + "input_layernorm.weight"] = torch.ones(hidden)
        w[p + "post_attention_layernorm.weight"] = torch.ones(hidden)
        w[p + "self_attn.q_proj.weight"] = rand(heads * d, hidden)
        w[p + "self_attn.k_proj.weight"] = rand(kv * d, hidden)
        w[p + "self_attn.v_proj.weight"] = rand(kv * d, hidden)
        w[p + "self_attn.o_proj.weight"] = rand(hidden, heads * d)
        w[p + "block_sparse_moe.gate.weight"] = rand(experts, hidden)
        for e in range(experts):
            q = p + f"block_sparse_moe.experts.{e}."
            w[q + "w1.weight"], w[q + "w3.weight"], w[q + "w2.weight"] = rand(width, hidden), rand(width, hidden), rand(hidden, width)
    return w


class Mixtral(torch.nn.Module):
    def __init__(self, w, hidden, layers, heads, kv, d, experts, k):
        super().__init__()
        self.h, self.n, self.heads, self.kv, self.d, self.e, self.k = hidden, layers, heads, kv, d, experts, k
        fused = {n: t for n, t in w.items() if ".experts." not in n}
        for i in range(layers):
            p = f"model.layers.{i}.block_sparse_moe.experts."
            fused[p + "gate_up"] = torch.stack([torch.cat([w[f"{p}{e}.w1.weight"], w[f"{p}{e}.w3.weight"]]) for e in range(experts)])
            fused[p + "down"] = torch.stack([w[f"{p}{e}.w2.weight"] for e in range(experts)])
        self.w = torch.nn.ParameterDict({n.replace(".", "/"): torch.nn.Parameter(t.clone()) for n, t in fused.items()})

    def get(self, name):
        return self.w[name.replace(".", "/")]

    def norm(self, x, name):
        return self.get(name) * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))

    def forward(self, ids):
        b, s = ids.shape
        x = F.embedding(ids, self.get("model.embed_tokens.weight"))
        freq = 1.0 / (1e6 ** (torch.arange(0, self.d, 2).float() / self.d))
        angle = torch.arange(s).float()[:, None] * freq
        cos, sin = torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()
        turn = lambda t: t * cos + torch.cat([-t[..., self.d // 2:], t[..., :self.d // 2]], -1) * sin  # noqa: E731
        for i in range(self.n):
            p = f"model.layers.{i}."
            h = self.norm(x, p + "input_layernorm.weight")
            q, k, v = (F.linear(h, self.get(p + f"self_attn.{n}_proj.weight")).view(b, s, -1, self.d).transpose(1, 2) for n in "qkv")
            k, v = (t.repeat_interleave(self.heads // self.kv, 1) for t in (turn(k), v))
            a = F.scaled_dot_product_attention(turn(q), k, v, is_causal=True).transpose(1, 2).reshape(b, s, -1)
            x = x + F.linear(a, self.get(p + "self_attn.o_proj.weight"))
            h = self.norm(x, p + "post_attention_layernorm.weight").view(-1, self.h)
            top, index = torch.topk(F.softmax(F.linear(h, self.get(p + "block_sparse_moe.gate.weight")), -1), self.k)
            top = top / top.sum(-1, keepdim=True)
            out = torch.zeros_like(h)
            for e in range(self.e):
                token, choice = torch.where(index == e)
                if not len(token):
                    continue
                gate, up = F.linear(h[token], self.get(p + "block_sparse_moe.experts.gate_up")[e]).chunk(2, -1)
                y = F.linear(F.silu(gate) * up, self.get(p + "block_sparse_moe.experts.down")[e]) * top[token, choice, None]
                out.index_add_(0, token, y)
            x = x + out.view(b, s, -1)
        return F.linear(self.norm(x, "model.norm.weight"), self.get("lm_head.weight"))


def torch_run(model, ids, steps, optimizer):
    losses, times = [], []
    for _ in range(steps):
        before = time.perf_counter()
        logits = model(ids)
        loss = F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(time.perf_counter() - before)
        losses.append(loss.item())
    return losses, times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", default="build/cpu/bin/moe_trainer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="one of: " + ", ".join(SHAPES))
    options = parser.parse_args()
    print("| shape | threads | plait tokens/s | PyTorch tokens/s | ratio | wanted |\n| --- | --- | --- | --- | --- | --- |")
    short = False
    for name, (hidden, layers, heads, kv, d, experts, k, width, vocabulary, b, s, threads, steps, wanted) in SHAPES.items():
        if options.only and options.only != name:
            continue
        torch.set_num_threads(threads)
        w = weights(hidden, layers, heads, kv, d, experts, width, vocabulary)
        ids = torch.randint(0, vocabulary, (b, s), generator=torch.Generator().manual_seed(1))
        with tempfile.TemporaryDirectory() as folder:
            config = dict(architectures=["MixtralForCausalLM"], model_type="mixtral", dtype="float32", hidden_size=hidden, num_hidden_layers=layers,
                          num_attention_heads=heads, num_key_value_heads=kv, head_dim=d, num_local_experts=experts, num_experts_per_tok=k,
                          intermediate_size=width, vocab_size=vocabulary, rms_norm_eps=1e-5, rope_theta=1e6, hidden_act="silu",
                          max_position_embeddings=4096, tie_word_embeddings=False, sliding_window=None)
            json.dump(config, open(os.path.join(folder, "config.json"), "w"))
            write_safetensors(os.path.join(folder, "model.safetensors"), {n: ("F32", list(t.shape), t.numpy().tobytes()) for n, t in w.items()})
            tokens = os.path.join(folder, "tokens.safetensors")
            write_safetensors(tokens, {"input_ids": ("I64", [b, s], ids.numpy().tobytes())})
            model = Mixtral(w, hidden, layers, heads, kv, d, experts, k)
            try:
                optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
            except RuntimeError:
                optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, foreach=True)
            ours, theirs = [], []
            for r in range(options.rounds):
                log = os.path.join(folder, f"log_{r}")
                subprocess.run([options.trainer, "train", "--model", folder, "--tokens", tokens, "--steps", str(steps), "--log", log,
                                "--threads", str(threads)], check=True, stdout=subprocess.DEVNULL)
                rows = [json.loads(line) for line in open(log)]
                ours.append(statistics.median(row["tokens_per_second"] for row in rows[1:]))
                losses, times = torch_run(model, ids, steps, optimizer)
                theirs.append(b * s / statistics.median(times[1:]))
                if r == 0:
                    for mine, peer in zip(rows[:3], losses[:3]):
                        if abs(mine["loss"] - peer) > 2e-4 * abs(peer):
                            sys.exit(f"{name}: the losses differ: {mine['loss']} and {peer}")
            a, p = statistics.median(ours), statistics.median(theirs)
            short = short or a / p < wanted
            print(f"| {name} | {threads} | {a:.0f} | {p:.0f} | {a / p:.2f} | {wanted} |", flush=True)
    sys.exit(1 if short else 0)


main()
