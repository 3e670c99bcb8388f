"""Causal attention in bf16 beside torch's scaled_dot_product_attention, in turns (A B A B), medians.

Usage: python3 compare.py BENCH_ATTENTION [--rounds 3] [--calls 20]
BENCH_ATTENTION is the program built from device_attention.cpp. torch: the fastest of its cuDNN, flash and memory-efficient kernels that takes
the shape. TFLOP/s count half of the scores: forward 2 products, gradients 5 (what ours compute again is not counted).
"""
import argparse
import subprocess
import warnings

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

SHAPES = [  # name, batch, tokens, heads, key heads, width, width of values
    ("Qwen3-30B, Mixtral", 4, 4096, 32, 4, 128, 128),
    ("DeepSeek-V2-Lite", 4, 4096, 16, 16, 192, 128),
    ("DeepSeek-V3, 8 of its ranks", 2, 4096, 16, 16, 192, 128),
    ("gpt-oss", 4, 4096, 64, 8, 64, 64),
]
BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION}


def timed(work, calls):
    work()
    start, stop = torch.cuda.Event(True), torch.cuda.Event(True)
    start.record()
    for _ in range(calls):
        work()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / calls


def torch_times(shape, backend, calls):
    batch, tokens, heads, key_heads, width, value_width = shape
    make = lambda h, w: torch.randn(batch, tokens, h, w, device="cuda", dtype=torch.bfloat16).transpose(1, 2).requires_grad_()
    q, k, v = make(heads, width), make(key_heads, width), make(key_heads, value_width)
    with sdpa_kernel(backend):
        run = lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != key_heads)
        with torch.no_grad():
            forward = timed(run, calls)
        out = run()
        dout = torch.randn_like(out)
        backward = timed(lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True), calls)
    return forward, backward


def median(values):
    return sorted(values)[len(values) // 2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=20)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)  # why torch does not take a kernel that it was not asked for
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    print("| shape | forward, ms | TFLOP/s | x torch | gradients, ms | TFLOP/s | x torch | torch's kernel |\n|---|---|---|---|---|---|---|---|")
    for name, *shape in SHAPES:
        usable = []
        for label, backend in BACKENDS.items():
            try:
                usable.append((sum(torch_times(shape, backend, 3)), label))
            except RuntimeError:
                pass
        label = min(usable)[1] if usable else None
        ours, theirs = [], []
        for _ in range(options.rounds):
            line = subprocess.run([options.program, ",".join(map(str, shape)), "--calls", str(options.calls)], capture_output=True, text=True, check=True).stdout
            ours.append([float(x) for x in line.split()[1:]])
            if label:
                theirs.append(torch_times(shape, BACKENDS[label], options.calls))
        batch, tokens, heads, _, width, value_width = shape
        product = batch * heads * tokens * tokens  # half of the scores, 2 FLOPs each
        flops = (product * (width + value_width), product * (3 * width + 2 * value_width))
        cells = []
        for i in range(2):
            mine = median([t[i] for t in ours])
            ratio = f"{median([t[i] for t in theirs]) / mine:.2f}" if theirs else "-"
            cells += [f"{mine:.3f}", f"{flops[i] / mine / 1e9:.0f}", ratio]
        print(f"| {name} {shape} | " + " | ".join(cells) + f" | {label or 'none'} |", flush=True)


if __name__ == "__main__":
    main()
