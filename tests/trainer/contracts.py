"""What the trainer promises beyond the oracles: repeatability, precision, recomputation, accumulation, odd shapes, fresh weights, export.

Usage: contracts.py [PART ...]   (default: all; the parts are the functions below)
"""
import fcntl
import json
import math
import math
import os
import pty
import random
import shutil
import struct
import subprocess
import sys
import termios

from lib_trainer import BACKEND, ORACLES, PLANS, SMALL, TRAINER, Report, Safetensors, difference, last_json, run, scratch, write_safetensors

report = Report()


def folder(model):
    return os.path.join(ORACLES, model)


def tokens_of(model):
    return os.path.join(folder(model), "oracle.safetensors")


def log_rows(path, keys=("step", "loss", "grad_norm", "aux_loss")):
    return [[json.loads(line)[k] for k in keys] for line in open(path)]


def bytes_of(path):
    with open(path, "rb") as f:
        return f.read()


def dump_of(d, name, *flags):
    path = os.path.join(d, name)
    out, _ = run("eval", "--dump", path, *flags)
    return last_json(out), Safetensors(path)


def compare(name, ours, theirs, logits, gradient):
    d, w = difference(ours.read("logits"), theirs.read("logits"))
    report.check(d <= logits * w, f"{name}: logits differ by {d / w}")
    report.check(sorted(ours.names()) == sorted(theirs.names()), f"{name}: other tensors")
    worst = 0
    for g in theirs.names():
        d, w = difference(ours.read(g), theirs.read(g))
        worst = max(worst, d / w if w else d)
        report.check(d <= gradient * w + 1e-8, f"{name}: {g} differs by {d} of {w}")
    return worst


def repeatable():
    steps = 3 if SMALL else 20
    for model, dtype in (("mixtral_aux", "f32"), ("qwen3_moe", "f32"), ("mixtral_aux", "bf16"), ("qwen3_moe", "bf16")):
        for plan, flags in PLANS:
            with scratch() as d:
                seen = []
                for i in range(2):
                    log, export = os.path.join(d, f"log{i}"), os.path.join(d, f"export{i}")
                    run("train", "--model", folder(model), "--tokens", tokens_of(model), "--steps", steps, "--dtype", dtype, "--log", log,
                        "--export", export, *flags)
                    seen.append((log_rows(log), bytes_of(os.path.join(export, "model.safetensors"))))
                report.check(len(seen[0][0]) == steps and seen[0] == seen[1], f"{model} {dtype} under {plan}: two runs differ")
    print(f"two runs of {steps} steps compared", flush=True)


def rounded_to_bf16(source, target):
    """A copy of a model whose weights are bf16 numbers, kept as float32."""
    import array
    shutil.copytree(source, target)
    path = os.path.join(target, "model.safetensors")
    model = Safetensors(path)
    tensors = {}
    for name in model.names():
        words = array.array("I", model.read(name).tobytes())
        for i, word in enumerate(words):
            words[i] = ((word + 0x7FFF + ((word >> 16) & 1)) & 0xFFFF0000) & 0xFFFFFFFF
        tensors[name] = ("F32", model.shape(name), array.array("f", words.tobytes()))
    os.chmod(path, 0o644)
    write_safetensors(path, tensors)


def precision():
    for model in ("mixtral", "qwen3_moe"):
        with scratch() as d:
            copy = os.path.join(d, "model")
            rounded_to_bf16(folder(model), copy)
            _, wide = dump_of(d, "f32", "--model", copy, "--tokens", tokens_of(model))
            for plan, flags in PLANS:
                got, narrow = dump_of(d, "bf16", "--model", copy, "--tokens", tokens_of(model), "--dtype", "bf16", *flags)
                compare(f"{model} bf16 under {plan}", narrow, wide, 2e-2, 1.5e-1)
    print("bf16 compared with float32", flush=True)


def recomputation():
    some = PLANS if SMALL else [p for p in PLANS if p[0] in ("one", "tp2", "sp4", "fsdp3", "fsdp2 x (sp+ep2) dispatch", "fsdp4 ep2", "fsdp4 tp2 ep4 sp")]
    for model in ("mixtral_aux", "qwen3_moe"):
        for plan, flags in some:
            for dtype in ("f32", "bf16"):
                with scratch() as d:
                    base = None
                    for how in ("none", "layer", "experts"):
                        path = os.path.join(d, how)
                        out, _ = run("eval", "--model", folder(model), "--tokens", tokens_of(model), "--dump", path, "--recompute", how,
                                     "--dtype", dtype, *flags)
                        seen = (last_json(out), bytes_of(path))
                        base = base or seen
                        report.check(seen == base, f"{model} {dtype} under {plan}: --recompute {how} changes numbers")
    print("recomputation compared", flush=True)


def accumulation():
    for model in ("mixtral", "mixtral_padded", "qwen3_moe_tied"):
        for plan, flags in PLANS:
            with scratch() as d:
                logs = [os.path.join(d, name) for name in ("one", "two")]
                for slices, log in enumerate(logs):
                    run("train", "--model", folder(model), "--tokens", tokens_of(model), "--steps", 1, "--grad-accumulation", slices + 1, "--log", log, *flags)
                a, b = (json.loads(open(log).read()) for log in logs)
            # mixtral_padded has a balancing loss, which is per slice: only its order of size is compared
            near = 1e-5 if model != "mixtral_padded" else 2e-2
            for key in ("loss", "grad_norm"):
                report.check(abs(a[key] - b[key]) <= near * abs(a[key]), f"{model} under {plan}: accumulation changes {key}: {a[key]} {b[key]}")
    print("accumulation compared", flush=True)


def narrow_states():
    # bf16 weights and moments without a float32 copy: two runs agree, a resumed one too, and losses stay near those of float32 states
    for model in ("mixtral", "qwen3_moe"):
        for plan, flags in [p for p in PLANS if p[0] in ("one", "sp2", "fsdp2 x tp2", "fsdp2 x (sp+ep2)")]:
            with scratch() as d:
                def losses(name, dtype, *more):
                    log = os.path.join(d, name)
                    run("train", "--model", folder(model), "--tokens", tokens_of(model), "--dtype", dtype, "--log", log, *more, *flags)
                    return log_rows(log)
                wide, narrow = losses("wide", "bf16", "--steps", 6), losses("narrow", "bf16-states", "--steps", 6)
                saved = os.path.join(d, "saved")
                again = losses("first", "bf16-states", "--steps", 3, "--save", saved) + losses("rest", "bf16-states", "--steps", 6, "--resume", saved)
                report.check(len(narrow) == 6 and narrow == again, f"{model} bf16-states under {plan}: a resumed run differs")
                for a, b in zip(wide, narrow):
                    report.check(abs(a[1] - b[1]) <= 1e-2 * abs(a[1]), f"{model} bf16-states under {plan}: step {a[0]} loss {b[1]}, with float32 states {a[1]}")
                report.check(narrow[-1][1] < narrow[0][1], f"{model} bf16-states under {plan}: the loss does not fall")
    with scratch() as d:  # fresh weights are those of bf16 with a float32 copy, rounded
        first, text = [], os.path.join(d, "text")
        with open(text, "w") as f:
            f.write("once upon a time " * 20)
        for dtype in ("bf16", "bf16-states"):
            log = os.path.join(d, dtype)
            run("train", "--tokens", text, "--dtype", dtype, "--log", log, "--steps", 1, "--mesh", "tp=2")
            first.append(log_rows(log)[0][1])
        report.check(first[0] == first[1], f"fresh weights in bf16-states: the first loss is {first[1]}, with float32 states {first[0]}")
    print("bf16 states compared", flush=True)


def odd_shapes():
    rng = random.Random(7)
    cases = {
        "S 19": (2, 19, None), "B 3": (3, 16, None), "B 1": (1, 12, None), "B 5 S 7": (5, 7, None),
        "row without labels": (2, 10, lambda r, s: -100 if r == 1 else None),
        "few labels": (4, 9, lambda r, s: None if r == 2 and s > 6 else -100),
    }
    for model in ("mixtral", "qwen3_moe"):
        for name, (b, s, label) in cases.items():
            with scratch() as d:
                ids = [rng.randrange(96) for _ in range(b * s)]
                tensors = {"input_ids": ("I64", [b, s], ids)}
                if label:
                    values = [label(i // s, i % s) for i in range(b * s)]
                    tensors["labels"] = ("I64", [b, s], [ids[i] if v is None else v for i, v in enumerate(values)])
                path = os.path.join(d, "tokens.safetensors")
                write_safetensors(path, tensors)
                one, want = dump_of(d, "one", "--model", folder(model), "--tokens", path)
                for plan, flags in PLANS[1:]:
                    got, ours = dump_of(d, "ours", "--model", folder(model), "--tokens", path, *flags)
                    report.check(abs(got["loss"] - one["loss"]) <= 2e-6, f"{model} {name} under {plan}: loss {got['loss']} {one['loss']}")
                    compare(f"{model} {name} under {plan}", ours, want, 5e-6, 1e-5)
    print("odd shapes compared", flush=True)


def fresh_weights():
    text = os.path.join(os.path.dirname(ORACLES), "..", "examples", "data", "verse.txt")
    with scratch() as d:
        first = None
        for plan, flags in PLANS:
            export = os.path.join(d, "export")
            run("train", "--tokens", text, "--steps", 0, "--export", export, *flags)
            seen = bytes_of(os.path.join(export, "model.safetensors"))
            first = first or seen
            report.check(seen == first, f"fresh weights under {plan} differ")
        log = os.path.join(d, "log")
        run("train", "--tokens", text, "--steps", 30, "--log", log, "--mesh", "fsdp=2,tp=2", "--sp", "--ep")
        rows = log_rows(log)
        report.check(rows[-1][1] < 0.75 * rows[0][1], f"the demo's loss does not fall: {rows[0][1]} to {rows[-1][1]}")
    print("fresh weights compared", flush=True)


def export_and_import():
    for model in ("mixtral", "qwen3_moe", "qwen3_moe_tied"):
        for plan, flags in PLANS:
            with scratch() as d:
                run("train", "--model", folder(model), "--tokens", tokens_of(model), "--steps", 0, "--export", os.path.join(d, "e"), *flags)
                a, b = Safetensors(os.path.join(d, "e", "model.safetensors")), Safetensors(os.path.join(folder(model), "model.safetensors"))
                same = sorted(a.names()) == sorted(b.names()) and all(a.read(n) == b.read(n) and a.shape(n) == b.shape(n) for n in b.names())
                report.check(same, f"{model} under {plan}: the exported tensors are not those loaded")
                report.check(bytes_of(os.path.join(d, "e", "config.json")) == bytes_of(os.path.join(folder(model), "config.json")),
                             f"{model} under {plan}: config.json is not kept")
    with scratch() as d:  # the element type is said anew, wherever and however config.json says it; all else stays
        source = os.path.join(d, "model")
        shutil.copytree(folder("mixtral"), source)
        given = json.load(open(os.path.join(source, "config.json")))
        given = {k: v for k, v in given.items() if k not in ("dtype", "torch_dtype")}
        for i, types in enumerate(({"dtype": "float32"}, {"torch_dtype": "float32"}, {"dtype": None}, {"torch_dtype": None},
                                   {"dtype": None, "torch_dtype": "float32"}, {"note": {"dtype": "int8"}, "other": "dtype", "dtype": "float32"}, {})):
            for first in (True, False):  # of the fields, or the last
                with open(os.path.join(source, "config.json"), "w") as f:
                    json.dump({**types, **given} if first else {**given, **types}, f)
                out = os.path.join(d, f"e{i}{first}")
                run("train", "--model", source, "--tokens", tokens_of("mixtral"), "--steps", 0, "--dtype", "bf16", "--export", out)
                want = {**given, **types, **{k: "bfloat16" for k in types if k in ("dtype", "torch_dtype")}}
                text = open(os.path.join(out, "config.json")).read()
                try:
                    report.check(json.loads(text) == want, f"exported in bf16 from {types}: {text}")
                except ValueError as e:
                    report.check(False, f"exported in bf16 from {types}: no JSON any more ({e}): {text[:80]!r}")
    print("export compared", flush=True)


def even_storage():
    """Of Mixtral 8x7B's numbers, however many ranks there are: every rank stores its share."""
    with scratch() as d:
        config = json.load(open(os.path.join(folder("mixtral"), "config.json")))
        config.update(hidden_size=4096, head_dim=128, num_attention_heads=32, num_key_value_heads=8, intermediate_size=14336, vocab_size=32000)
        json.dump(config, open(os.path.join(d, "config.json"), "w"))
        for mesh, ranks, flags in (("fsdp=64", 64, []), ("fsdp=8", 8, []), ("fsdp=48", 48, []), ("fsdp=64,tp=8", 512, []), ("fsdp=64,ep=4", 64, ["--ep"]),
                                   ("fsdp=128,tp=2,ep=8", 256, ["--ep", "--sp"])):
            for rank in (0, ranks // 2, ranks - 1):
                out, _ = run("explain", "--model", d, "--mesh", mesh, "--rank", rank, "--json", *flags)
                parameters = json.loads(out)["parameters"]
                stored = sum(math.prod(p["storage_local"]) for p in parameters)
                share = sum(math.prod(p["global"]) for p in parameters) / ranks
                report.check(0.8 * share < stored < 1.05 * share, f"rank {rank} of --mesh {mesh} {' '.join(flags)} stores {stored / share:.2f} times its share")
    print("shares compared", flush=True)


def on_terminal(stream, columns, *args):
    """(exit code, text): what a run writes to stdout or stderr where that is a terminal of so many columns (0: one that does not say)."""
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: terminal}
    process = subprocess.Popen([TRAINER, *map(str, args), "--backend", BACKEND], stdin=subprocess.DEVNULL, **streams)
    os.close(terminal)
    seen = b""
    while True:
        try:
            part = os.read(control, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(control)
    return process.wait(timeout=120), seen.decode()


def status_lines():
    """Progress rewrites one line of a terminal and never spills over it; no terminal, no escape sequences."""
    erase = "\r\033[K"
    train = ["train", "--model", folder("mixtral"), "--tokens", tokens_of("mixtral"), "--steps", 3]
    with scratch() as d:
        for columns in (0, 40, 200):
            for flags in ([], ["--mesh", "fsdp=2,tp=2"], ["--save", os.path.join(d, f"save{columns}"), "--save-every", 2, "--save-wait"]):
                code, seen = on_terminal("stdout", columns, *train, *flags)
                lines = [part.split("\r\n")[0] for part in seen.split(erase)[1:]]
                report.check(code == 0 and [line[:8] for line in lines] == [f"step {i}/3" for i in (1, 2, 3)], f"{columns} columns {flags}: {seen!r}")
                report.check(max(map(len, lines)) <= (columns or 80) - 1, f"{columns} columns {flags}: {lines}")
                report.check(columns < 200 or all("idle" in line for line in lines), f"{columns} columns {flags}: cut off: {lines}")
                said = [line for line in seen.split("\r\n") if line.startswith("saved step ")]
                report.check(seen.endswith("\r\n") and len(said) == (2 if "--save" in flags else 0), f"what follows a line that is open: {seen!r}")
        code, seen = on_terminal("stdout", 40, *train, "--lr", 1e30)
        report.check(code == 1 and seen.endswith("\r\n"), f"a run that fails leaves its line open: {seen!r}")
        text = os.path.join(d, "text")
        with open(text, "w") as f:
            f.write("ONE AND TWO AND 3 " * 20000)
        evaluate = ["eval", "--model", folder("mixtral"), "--tokens", text, "--seq", 16]
        if not SMALL:
            code, seen = on_terminal("stderr", 40, *evaluate)
            lines = seen.split(erase)[1:]
            report.check(code == 0 and len(lines) > 1 and lines[-1] == "", f"eval leaves its line: {seen!r}")
            report.check(all(line.startswith("moe_trainer: row ") and len(line) <= 39 for line in lines[:-1]), f"{lines}")
        for args in (train, evaluate):
            out, err = run(*args)
            report.check("\033" not in out + err and "\r" not in out + err, f"escape sequences without a terminal: {out!r} {err!r}")
    print("lines on terminals read", flush=True)


def learning_rates():
    def rate(kind, step):  # of 10 steps to 1e-3, the first 4 of them warm-up, down to 1e-4
        if step < 4:
            return 1e-3 * step / 4
        done = (step - 4) / 6
        return {"constant": 1e-3, "linear": 1e-3 - 9e-4 * done, "cosine": 1e-4 + 9e-4 * (1 + math.cos(math.pi * done)) / 2}[kind]
    for kind in ("constant", "linear", "cosine"):
        for plan, flags in (("one", []), ("sp+ep2", ["--mesh", "tp=2", "--sp", "--ep"])):
            with scratch() as d:
                whole, halves = os.path.join(d, "whole"), os.path.join(d, "halves")
                common = ["train", "--model", folder("mixtral_aux"), "--tokens", tokens_of("mixtral_aux"), "--steps", 10, "--warmup", 4, "--lr-schedule", kind,
                          *([] if kind == "constant" else ["--min-lr", 1e-4]), *flags]
                run(*common, "--log", whole, "--save", os.path.join(d, "a"), "--save-every", 6)
                rows = log_rows(whole, ("step", "lr"))
                report.check(all(abs(lr - rate(kind, step)) <= 1e-15 for step, lr in rows) and len(rows) == 10, f"{kind} under {plan}: rates {rows}")
                run(*common, "--log", halves, "--resume", os.path.join(d, "a", "step-00000006"))
                report.check(log_rows(halves, ("step", "lr", "loss", "grad_norm")) == log_rows(whole, ("step", "lr", "loss", "grad_norm"))[6:],
                             f"{kind} under {plan}: continued at step 6 it is another run")
    print("learning rates read", flush=True)


parts = [status_lines, learning_rates, repeatable, precision, narrow_states, recomputation, accumulation, odd_shapes, fresh_weights, export_and_import, even_storage]
for part in parts:
    if not sys.argv[1:] or part.__name__ in sys.argv[1:]:
        part()
report.close()
