"""Grouped GEMM of this library beside torch._grouped_mm in one process: interleaved A B A B, rotated random inputs, medians.
Forward, input gradient, and weight gradient accumulated into float32 (torch: product, then a separate add). Also one dense
torch.matmul of equal FLOPs and a device copy, as ceilings.

Usage: python3 compare.py LIBRARY [--repeats 50] [--shapes a,b] [--spread balanced,zipf,one-hot]
LIBRARY is libplait_grouped_gemm.so, built by run_device.sh."""
import argparse, ctypes, math, torch

SHAPES = [  # name, experts, tokens, top-k, hidden, intermediate, ranks the experts are spread over, kind
    ("mixtral-8x7b", 8, 8192, 2, 4096, 14336, 1, "large"),
    ("qwen3-30b-a3b", 128, 16384, 8, 2048, 768, 1, "large"),
    ("qwen3-235b-a22b", 128, 8192, 8, 4096, 1536, 1, "large"),
    ("olmoe-1b-7b", 64, 16384, 8, 2048, 1024, 1, "large"),
    ("deepseek-v3-ep8", 32, 8192, 8, 7168, 2048, 8, "deepseek"),
    ("gpt-oss-20b", 32, 8192, 4, 2880, 2880, 1, "large"),
    ("mixtral-small-batch", 8, 512, 2, 4096, 14336, 1, "small"),
    ("qwen3-30b-small-batch", 128, 512, 8, 2048, 768, 1, "small"),
]
SPREADS = ["balanced", "zipf", "one-hot"]


def counts_of(spread, experts, rows):
    if spread == "balanced":
        return torch.full((experts,), rows // experts, dtype=torch.int64)
    if spread == "one-hot":
        counts = torch.zeros(experts, dtype=torch.int64)
        counts[experts // 2] = rows
        return counts
    weight = 1.0 / torch.arange(1, experts + 1, dtype=torch.float64) ** 0.7
    weight = weight[torch.randperm(experts, generator=torch.Generator().manual_seed(0))]
    counts = torch.floor(weight / weight.sum() * rows).to(torch.int64)
    counts[0] += rows - counts.sum()
    return counts


def timed(work):
    start, stop = torch.cuda.Event(True), torch.cuda.Event(True)
    start.record()
    work()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop)


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("shared_object")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--shapes", default="")
    parser.add_argument("--spread", default="")
    options = parser.parse_args()
    library = ctypes.CDLL(options.shared_object)
    pointer, integer, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    head = [pointer, integer, long, integer, integer, pointer, pointer, pointer]
    library.plait_forward.argtypes = head + [pointer, pointer]
    library.plait_input_gradient.argtypes = head + [pointer, pointer]
    library.plait_weight_gradient.argtypes = head + [integer, pointer, pointer]
    for name in ("plait_forward", "plait_input_gradient", "plait_weight_gradient"):
        getattr(library, name).restype = ctypes.c_char_p

    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    block = torch.empty(1 << 30, dtype=torch.int16, device="cuda").random_()
    other = torch.empty_like(block)
    bandwidth = 2 * 2 * block.numel() / median([timed(lambda: other.copy_(block)) for _ in range(12)]) / 1e9
    del block, other
    print(f"copy {bandwidth:.2f} TB/s (read + written)")
    queue = torch.zeros(library.plait_queue_words(), dtype=torch.int32, device="cuda")
    stream = torch.cuda.current_stream().cuda_stream
    ratios = {}

    def check(message):
        if message is not None:
            raise RuntimeError(message.decode())

    for name, experts, tokens, top_k, hidden, inner, ranks, kind in SHAPES:
        if options.shapes and name not in options.shapes.split(","):
            continue
        rows = tokens * top_k // ranks
        for projection, (k, n) in {"gate_up": (hidden, 2 * inner), "down": (inner, hidden)}.items():
            flop = 2.0 * rows * k * n
            sets = [(torch.randn(rows, k, device="cuda", dtype=torch.bfloat16),
                     torch.randn(experts, n, k, device="cuda", dtype=torch.bfloat16),
                     torch.randn(rows, n, device="cuda", dtype=torch.bfloat16)) for _ in range(2)]
            y = torch.empty(rows, n, device="cuda", dtype=torch.bfloat16)
            dx = torch.empty(rows, k, device="cuda", dtype=torch.bfloat16)
            dw = torch.zeros(experts, n, k, device="cuda", dtype=torch.float32)
            for spread in SPREADS:
                if options.spread and spread not in options.spread.split(","):
                    continue
                counts = counts_of(spread, experts, rows)
                ends = torch.cumsum(counts, 0).to(torch.int32).cuda()
                offsets = torch.cat([torch.zeros(1, dtype=torch.int32, device="cuda"), ends])
                alive = int((counts > 0).sum())
                shape = (offsets.data_ptr(), experts, rows, k, n)
                tail = (queue.data_ptr(), stream)
                ours = {
                    "fwd": lambda s: check(library.plait_forward(*shape, s[0].data_ptr(), s[1].data_ptr(), y.data_ptr(), *tail)),
                    "dgrad": lambda s: check(library.plait_input_gradient(*shape, s[2].data_ptr(), s[1].data_ptr(), dx.data_ptr(), *tail)),
                    "wgrad": lambda s: check(library.plait_weight_gradient(*shape, s[2].data_ptr(), s[0].data_ptr(), dw.data_ptr(), 1, *tail)),
                }
                theirs = {
                    "fwd": lambda s: torch._grouped_mm(s[0], s[1].transpose(-2, -1), offs=ends),
                    "dgrad": lambda s: torch._grouped_mm(s[2], s[1], offs=ends),
                    "wgrad": lambda s: dw.add_(torch._grouped_mm(s[2].t(), s[0], offs=ends)),
                }
                line = f"{name:22s}{projection:8s}{spread:9s}"
                dense = []
                for product in ours:
                    mine, other, torch_out = [], [], None
                    for i in range(-3, options.repeats):
                        s = sets[i % 2]
                        a = timed(lambda: ours[product](s))
                        b = timed(lambda: theirs[product](s))
                        c = timed(lambda: torch.matmul(s[0], s[1][0].t())) if i % 5 == 0 or i < 0 else None
                        if i >= 0:
                            mine.append(a)
                            other.append(b)
                            if c is not None:
                                dense.append(c)
                    if product != "wgrad":  # the two must agree
                        out = y if product == "fwd" else dx
                        ours[product](sets[0])
                        torch_out = theirs[product](sets[0])
                        error = ((out.float() - torch_out.float()).norm() / torch_out.float().norm()).item()
                        assert error < 5e-3, (name, projection, spread, product, error)
                        del torch_out
                    moved = 2.0 * rows * (k + n) + (8.0 if product == "wgrad" else 2.0) * alive * k * n
                    bound = max(median(dense), moved / bandwidth / 1e9)
                    ratio = (median(other) / median(mine), median(dense) / median(mine), bound / median(mine))
                    for spread_key in (spread, "skewed" if spread != "balanced" else None):
                        if spread_key:
                            ratios.setdefault((product, spread_key, kind), []).append(ratio)
                    line += f" | {product} {flop / median(mine) / 1e9:4.0f} torch {flop / median(other) / 1e9:4.0f}"
                    line += f"  {ratio[0]:.2f}x {ratio[1]:.2f} {ratio[2]:.2f}"
                print(line + f" | dense {flop / median(dense) / 1e9:4.0f}", flush=True)
            del sets, y, dx, dw
            torch.cuda.empty_cache()
    print("geometric means (least): product, spread, shapes: over torch, to dense, to max(dense, bytes / copy)")
    for (product, spread, kind), values in ratios.items():
        means = [math.exp(sum(math.log(v[i]) for v in values) / len(values)) for i in range(3)]
        least = [min(v[i] for v in values) for i in range(3)]
        print(f"  {product:6s}{spread:9s}{kind:9s}" + "".join(f"  {m:.3f} ({w:.3f})" for m, w in zip(means, least)))


main()
