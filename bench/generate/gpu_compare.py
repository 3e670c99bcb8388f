#!/usr/bin/env python3
"""Greedy generation on one GPU, plait beside transformers, one after the other on the same machine. The peer is a bare loop over its model
with its cache, without generate() and its checks.

The model: the first layers of Qwen3-30B-A3B's shape with random bf16 weights (../train_step/gpu_compare.py writes it); prompts of random
tokens. Times are those of every token after a row's first, in milliseconds a step of the whole batch; reading the prompts is timed apart
and, for plait, includes the first use of every kernel.

usage: gpu_compare.py --trainer build/gpu/bin/moe_trainer [--layers 4] [--cases 1x512,16x512,1x8192] [--new 128] [--no-peer] [--folder DIR]
--cases: batches as ROWSxTOKENS. --folder DIR: where the model is written, and read from if it is there.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

TRAIN_STEP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "train_step")
sys.path.insert(0, TRAIN_STEP)


def prompts(rows, tokens):
    import random
    generator = random.Random(7)
    return [[generator.randrange(1000, 150000) for _ in range(tokens)] for _ in range(rows)]


def run_ours(options, folder, rows, tokens):
    command = [options.trainer, "generate", "--backend", "cuda", "--model", folder, "--dtype", "bf16", "--max-new-tokens", str(options.new)]
    for prompt in prompts(rows, tokens):
        command += ["--prompt-ids", ",".join(map(str, prompt))]
    said = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True).stderr
    found = re.search(r"read in ([\d.]+) s .*all but the first of each in ([\d.]+) s", said)
    return float(found[1]), float(found[2]) / (options.new - 1)


def run_peer(options, folder, cases):
    import torch
    import transformers
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).cuda().eval()

    def timed(ids, new):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        for _ in range(new - 1):
            out = model(input_ids=out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values, use_cache=True)
        out.logits[:, -1].argmax(-1).cpu()
        return time.perf_counter() - begin
    result = []
    with torch.no_grad():
        for rows, tokens in cases:
            ids = torch.tensor(prompts(rows, tokens), device="cuda")
            timed(ids, 8)
            first, whole = timed(ids, 1), timed(ids, options.new)
            result.append((first, (whole - first) / (options.new - 1)))
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", default="build/gpu/bin/moe_trainer")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--cases", default="1x512,16x512,1x8192")
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--folder", default="")
    parser.add_argument("--peer-alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    cases = [tuple(map(int, case.split("x"))) for case in options.cases.split(",")]
    if options.peer_alone:
        for first, later in run_peer(options, options.folder, cases):
            print(first, later)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or temporary
        if not os.path.exists(os.path.join(folder, "config.json")):
            # In a process of its own, so that PyTorch's memory on the GPU is given back.
            subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {TRAIN_STEP!r}); "
                            f"import gpu_compare; gpu_compare.write_model({folder!r}, {options.layers}, 1, 16)"], check=True)
        ours = [run_ours(options, folder, *case) for case in cases]
        theirs = [(0, 0)] * len(cases)
        if not options.no_peer:
            out = subprocess.run([sys.executable, __file__, "--peer-alone", "--folder", folder, "--cases", options.cases, "--new", str(options.new)],
                                 check=True, stdout=subprocess.PIPE, text=True).stdout
            theirs = [tuple(map(float, line.split())) for line in out.strip().splitlines()[-len(cases):]]
        print("| rows x tokens | reading, s | a step, ms | new tokens/s | transformers: reading, s | a step, ms | x |")
        print("|---|---|---|---|---|---|---|")
        for (rows, tokens), (read, step), (peer_read, peer_step) in zip(cases, ours, theirs):
            print(f"| {rows} x {tokens} | {read:.3f} | {1e3 * step:.3f} | {rows / step:.0f} | {peer_read:.3f} | {1e3 * peer_step:.3f} | {peer_step / step:.2f} |")


if __name__ == "__main__":
    main()
