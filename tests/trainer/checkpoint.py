"""Checkpoints through the program: resuming bit for bit, the cross-plan demo, tools, exports, full disks, signals, foreign shards."""
import array
import filecmp
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import time

from lib_trainer import ORACLES, PLANS, SMALL, TRAINER, Report, Safetensors, run, scratch, write_safetensors

report = Report()
REPO = os.environ.get("PLAIT_REPO", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
SENTENCE = os.path.join(REPO, "examples", "data", "sentence.txt")


def folder(model):
    return os.path.join(ORACLES, model)


def tokens_of(model):
    return os.path.join(folder(model), "oracle.safetensors")


def rows_of(path, keys=("step", "loss", "grad_norm", "aux_loss", "tokens_seen")):
    return [[json.loads(line)[k] for k in keys] for line in open(path)]


def same_folder(a, b):
    names = sorted(os.listdir(a))
    return names == sorted(os.listdir(b)) and all(filecmp.cmp(os.path.join(a, n), os.path.join(b, n), shallow=False) for n in names)


def step(d, n):
    return os.path.join(d, f"step-{n:08d}")


def resume_is_bitwise():
    plans = [p for p in PLANS if p[0] in ("one", "fsdp2 x (sp+ep2)")] if SMALL else PLANS
    done = 0
    for model, dtype in (("mixtral_aux", "f32"), ("qwen3_moe", "bf16")):
        for plan, flags in plans:
            with scratch() as d:
                common = ["train", "--tokens", tokens_of(model), "--steps", 7, "--batch", 1, "--dtype", dtype, *flags]
                straight, log = os.path.join(d, "straight"), os.path.join(d, "log")
                run(*common, "--model", folder(model), "--save", straight, "--save-every", 1, "--log", log)
                want = rows_of(log)
                report.check(len(want) == 7 and sorted(os.listdir(straight))[1:] == [f"step-{n:08d}" for n in range(1, 8)], f"{model} {plan}: not every step was saved")
                for n in range(1, 7, 2 if SMALL else 1):
                    again, log = os.path.join(d, f"again{n}"), os.path.join(d, f"log{n}")
                    run(*common, "--resume", step(straight, n), "--save", again, "--log", log)
                    done += 1
                    report.check(rows_of(log) == want[n:], f"{model} {dtype} under {plan}: resumed from step {n}, the losses differ")
                    report.check(same_folder(step(straight, 7), step(again, 7)), f"{model} {dtype} under {plan}: resumed from step {n}, the last checkpoint differs")
    print(f"{done} resumed runs compared bitwise", flush=True)


def other_types():
    """The bf16 checks above are qwen's, the f32 ones mixtral's: here the two are exchanged, under one plan."""
    for model, dtype in (("mixtral_aux", "bf16"), ("qwen3_moe", "f32")):
        with scratch() as d:
            flags = ["--mesh", "fsdp=2,tp=2", "--ep"]
            common = ["train", "--tokens", tokens_of(model), "--steps", 4, "--dtype", dtype, *flags]
            run(*common, "--model", folder(model), "--save", os.path.join(d, "a"), "--save-every", 2)
            run(*common, "--resume", step(os.path.join(d, "a"), 2), "--save", os.path.join(d, "b"))
            report.check(same_folder(step(os.path.join(d, "a"), 4), step(os.path.join(d, "b"), 4)), f"{model} {dtype}: resumed differs")


def demo():
    """Half under one plan, half under another, exported, generated under a third."""
    text = open(SENTENCE).read()
    half, steps = (3, 6) if SMALL else (30, 60)
    size = ["--tokens", SENTENCE, "--seq", len(text), "--batch", 4, "--lr", 0.003]
    with scratch() as d:
        a, b, hf = (os.path.join(d, n) for n in ("a", "b", "hf"))
        logs = [os.path.join(d, n) for n in ("log1", "log2", "log3")]
        run("train", *size, "--steps", half, "--mesh", "fsdp=2,tp=2", "--sp", "--ep", "--ep-mode", "dispatch", "--save", a, "--log", logs[0])
        run("train", *size, "--steps", steps, "--mesh", "tp=4", "--sp", "--ep", "--ep-mode", "gather", "--resume", a, "--save", b, "--log", logs[1], "--export", hf)
        run("train", *size, "--steps", steps, "--mesh", "tp=4", "--sp", "--ep", "--log", logs[2])
        halves, whole = rows_of(logs[0]) + rows_of(logs[1]), rows_of(logs[2])
        report.check([r[0] for r in halves] == list(range(1, steps + 1)), f"the halves are not steps 1 to {steps}")
        # Rounding differs between plans and sixty steps carry it on; the losses agree to single precision all the same.
        worst = max(abs(x[1] - y[1]) / y[1] for x, y in zip(halves, whole))
        report.check(worst < 5e-5, f"the halves' losses differ from the straight run's by {worst}")
        merged = os.path.join(d, "merged")
        run("checkpoint", "merge", b, merged)
        report.check(same_folder(hf, merged), "checkpoint merge is not the export")
        for source in (hf, b):
            out, _ = run("generate", "--model", source, "--mesh", "tp=4", "--ep", "--prompt", text[:9], "--max-new-tokens", len(text) - 9)
            report.check(SMALL or out.split("\n")[0] == text, f"generated: {out[:200]!r}")
    print(f"the cross-plan demo: losses within {worst:.1e} of the straight run{'' if SMALL else ', text equal'}", flush=True)


def tools():
    with scratch() as d:
        common = ["train", "--model", folder("mixtral"), "--tokens", tokens_of("mixtral"), "--mesh", "fsdp=2,tp=2", "--ep"]
        a, b = os.path.join(d, "a"), os.path.join(d, "b")
        run(*common, "--steps", 3, "--save", a, "--save-every", 1, "--keep", 2)
        report.check(sorted(os.listdir(a)) == [".lock", "step-00000002", "step-00000003"], "--keep 2 keeps other checkpoints")
        out, _ = run("checkpoint", "ls", a)
        report.check(out.count("step ") == 2 and "mixtral f32" in out, f"ls: {out}")
        out, _ = run("checkpoint", "verify", a)
        report.check("9 of 9 files good" in out or "good" in out.splitlines()[-1], f"verify: {out}")
        run("train", "--model", folder("mixtral"), "--tokens", tokens_of("mixtral"), "--mesh", "tp=4", "--steps", 3, "--resume", step(a, 2), "--save", b)
        out, _ = run("checkpoint", "diff", step(a, 2), step(a, 2))
        report.check("0 different" in out, f"diff of equals: {out}")
        out, _ = run("checkpoint", "diff", step(a, 2), step(a, 3), expect=1)
        report.check("elements differ" in out and "0 tensors equal" in out, f"diff of two steps: {out}")
        out, _ = run("checkpoint", "diff", a, b, expect=1)
        report.check("norm of the difference" in out, f"diff under another plan: {out}")
        shard = os.path.join(step(a, 3), "optim-00002-model-00001-of-00001.safetensors")
        with open(shard, "r+b") as f:
            f.seek(os.path.getsize(shard) - 3)
            f.write(b"\xff\xff")
        out, _ = run("checkpoint", "verify", step(a, 3), expect=1)
        report.check("BAD" in out and "optim-00002" in out, f"verify of a damaged file: {out}")
        _, err = run(*common, "--steps", 5, "--resume", a, expect=2)
        report.check("optim-00002" in err and "damaged" in err, f"resume from a damaged file: {err}")
        # a folder whose latest manifest is damaged: whoever then gets an older step is told so
        with open(os.path.join(step(a, 3), "plait.json"), "r+b") as f:
            f.truncate(100)
        out, _ = run("checkpoint", "verify", a, expect=1)
        report.check("BAD" in out and "step-00000003/plait.json" in out and "step 2" in out.splitlines()[-1], f"verify passes over a damaged manifest: {out}")
        for tool, more in (("merge", [os.path.join(d, "merged")]), ("diff", [step(a, 2)])):
            _, err = run("checkpoint", tool, a, *more)
            report.check("passed over" in err and "step-00000003/plait.json" in err, f"{tool} passes over a damaged manifest in silence: {err}")
        # weights alone, and plans alike: eval of a checkpoint is eval of the model it holds
        one, _ = run("eval", "--model", b, "--tokens", tokens_of("mixtral"))
        two, _ = run("eval", "--model", b, "--tokens", tokens_of("mixtral"), "--mesh", "tp=2", "--sp", "--ep")
        x, y = json.loads(one.splitlines()[-1]), json.loads(two.splitlines()[-1])
        report.check(abs(x["loss"] - y["loss"]) < 1e-5, "eval of a checkpoint differs between plans")


def exports_in_parts():
    for model in ("mixtral", "qwen3_moe", "qwen3_moe_tied"):
        source = Safetensors(os.path.join(folder(model), "model.safetensors"))
        for plan, flags in PLANS[::5] if not SMALL else PLANS[:1]:
            with scratch() as d:
                parts, again = os.path.join(d, "parts"), os.path.join(d, "again")
                run("train", "--model", folder(model), "--tokens", tokens_of(model), "--steps", 0, "--export", parts, "--export-shard-size", 5e-5, *flags)
                index = json.load(open(os.path.join(parts, "model.safetensors.index.json")))
                files = sorted(set(index["weight_map"].values()))
                sizes = [os.path.getsize(os.path.join(parts, f)) for f in files]
                report.check(len(files) > 1 and files[0] == f"model-00001-of-{len(files):05d}.safetensors", f"{model}: {files}")
                report.check(index["metadata"]["total_size"] == sum(math.prod(source.shape(n)) * 4 for n in source.names()), f"{model}: total_size")
                report.check(all(s < 50000 + 8192 or len(Safetensors(os.path.join(parts, f)).names()) == 1 for s, f in zip(sizes, files)), f"{model}: sizes {sizes}")
                run("train", "--model", parts, "--tokens", tokens_of(model), "--steps", 0, "--export", again, *flags)
                # an export over another one, whole over parts and parts over whole, leaves nothing of it that a reader could take
                for target, size, want in ((parts, 5, again), (parts, 5e-5, None)):
                    run("train", "--model", again, "--tokens", tokens_of(model), "--steps", 0, "--export", target, "--export-shard-size", size, *flags)
                    weights = sorted(n for n in os.listdir(target) if n.startswith("model"))
                    report.check(same_folder(target, want) if want else weights == sorted([*files, "model.safetensors.index.json"]), f"{model}: exported over: {weights}")
                got = Safetensors(os.path.join(again, "model.safetensors"))
                same = sorted(got.names()) == sorted(source.names()) and all(got.read(n) == source.read(n) and got.shape(n) == source.shape(n) for n in source.names())
                report.check(same, f"{model} under {plan}: exported in parts and loaded, other tensors come out")
                report.check(filecmp.cmp(os.path.join(again, "generation_config.json"), os.path.join(folder(model), "generation_config.json"), shallow=False),
                             f"{model}: generation_config.json is not carried along")


def foreign_shards():
    """Folders as PyTorch's distributed safetensors writer makes them: cut by hand here, over two files, one tensor by columns."""
    model = folder("mixtral")
    source = Safetensors(os.path.join(model, "model.safetensors"))
    with scratch() as d:
        shards = os.path.join(d, "shards")
        os.mkdir(shards)
        shutil.copy(os.path.join(model, "config.json"), shards)
        memory = {}
        for n in source.names():
            if "block_sparse_moe.experts" not in n:
                memory[n.replace("block_sparse_moe", "mlp")] = (source.shape(n), source.read(n))
        config = json.load(open(os.path.join(model, "config.json")))
        for layer in range(config["num_hidden_layers"]):
            up, down = array.array("f"), array.array("f")
            for e in range(config["num_local_experts"]):
                name = f"model.layers.{layer}.block_sparse_moe.experts.{e}."
                up += source.read(name + "w1.weight") + source.read(name + "w3.weight")
                down += source.read(name + "w2.weight")
            h, i = config["hidden_size"], config["intermediate_size"]
            memory[f"model.layers.{layer}.mlp.experts.gate_up_proj"] = ([config["num_local_experts"], 2 * i, h], up)
            memory[f"model.layers.{layer}.mlp.experts.down_proj"] = ([config["num_local_experts"], h, i], down)
        for rank in range(2):
            tensors, info = {}, {}
            for name, (shape, values) in memory.items():
                if name.endswith("o_proj.weight"):  # by columns
                    half = shape[1] // 2
                    part = array.array("f")
                    for r in range(shape[0]):
                        part += values[r * shape[1] + rank * half:r * shape[1] + (rank + 1) * half]
                    tensors[name], info[name] = ("F32", [shape[0], half], part.tobytes()), {"saved_offsets": [0, rank * half]}
                else:
                    first = (shape[0] + 1) // 2
                    begin, end = (0, first) if rank == 0 else (first, shape[0])
                    row = len(values) // shape[0]
                    tensors[name] = ("F32", [end - begin, *shape[1:]], values[begin * row:end * row].tobytes())
                    info[name] = {"saved_offsets": [begin] + [0] * (len(shape) - 1)}
            path = os.path.join(shards, f"shard-{rank + 1:05d}-model-00001-of-00001.safetensors")
            header, parts, at = {"__metadata__": {"format": "pt", "DCP_VERSION": "1.0", "DCP_SHARDING_INFO": json.dumps(info)}}, [], 0
            for name, (dtype, shape, raw) in tensors.items():
                header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
                at += len(raw)
                parts.append(raw)
            text = json.dumps(header).encode()
            with open(path, "wb") as f:
                f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
        want, _ = run("eval", "--model", model, "--tokens", tokens_of("mixtral"))
        for plan, flags in PLANS[::4] if not SMALL else PLANS[:1]:
            out = os.path.join(d, "out")
            run("train", "--model", shards, "--tokens", tokens_of("mixtral"), "--steps", 0, "--export", out, *flags)
            got = Safetensors(os.path.join(out, "model.safetensors"))
            report.check(all(got.read(n) == source.read(n) for n in source.names()), f"foreign shards under {plan}: other weights")
            shutil.rmtree(out)
        got, _ = run("eval", "--model", shards, "--tokens", tokens_of("mixtral"))
        report.check(got == want, f"foreign shards: {got} instead of {want}")
        os.remove(os.path.join(shards, "shard-00002-model-00001-of-00001.safetensors"))
        _, err = run("eval", "--model", shards, "--tokens", tokens_of("mixtral"), expect=2)
        report.check("another model" in err or "shard missing" in err, f"a missing foreign shard: {err}")


def full_disk():
    """A small tmpfs, where one can be mounted: at every size the run ends with an error and the checkpoint before stays."""
    if os.geteuid() != 0:
        print("full disks: not tried, mounting takes root (the fault tests in numeric_checkpoint stand in)")
        return
    with scratch() as d:
        disk = os.path.join(d, "disk")
        os.mkdir(disk)
        common = ["train", "--tokens", SENTENCE, "--seq", 94, "--mesh", "fsdp=2,tp=2", "--sp", "--ep"]
        run(*common, "--steps", 1, "--save", os.path.join(d, "first"))
        size = sum(os.path.getsize(os.path.join(step(os.path.join(d, "first"), 1), n)) for n in os.listdir(step(os.path.join(d, "first"), 1)))
        tried = failed = 0
        for room in range(64 * 1024, 5 * size, 2 * size if SMALL else size // 3):
            if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "none", disk], capture_output=True).returncode != 0:
                print("full disks: no tmpfs can be mounted here")
                return
            try:
                target = os.path.join(disk, "save")
                p = subprocess.run([TRAINER, *map(str, common), "--steps", "3", "--save", target, "--save-every", "1"], cwd=d,
                                   env={**os.environ, "TMPDIR": d}, capture_output=True, text=True)
                names = sorted(os.listdir(target)) if os.path.isdir(target) else []
                left = [n for n in names if n.startswith("step-")]
                report.check(all(n == ".lock" or n.startswith("step-") for n in names), f"{room} bytes: left behind {names}")
                report.check((p.returncode == 0) == (len(left) == 3), f"{room} bytes: exit {p.returncode} with {left}")
                report.check("step 3/3" in p.stdout, f"{room} bytes: training did not go on: {p.stderr[-300:]}")
                if p.returncode != 0:
                    failed += 1
                    report.check("free" in p.stderr or "No space left" in p.stderr, f"{room} bytes: {p.stderr[-300:]}")
                for n in left:
                    run("checkpoint", "verify", os.path.join(target, n))
                elsewhere = os.path.join(d, "moe_trainer-save")  # the last step, where it had no room
                report.check(os.path.isdir(elsewhere) == (step(target, 3)[-13:] not in left), f"{room} bytes: {left}, elsewhere {os.path.isdir(elsewhere)}")
                if os.path.isdir(elsewhere):
                    run("checkpoint", "verify", step(elsewhere, 3))
                    shutil.rmtree(elsewhere)
                tried += 1
            finally:
                subprocess.run(["umount", disk], check=True)
        report.check(tried > (2 if SMALL else 8) and 0 < failed < tried, f"{tried} sizes, {failed} too small")
        print(f"{tried} sizes of a disk, {failed} too small", flush=True)


def signals():
    with scratch() as d:
        common = ["train", "--tokens", SENTENCE, "--seq", 94, "--batch", 4, "--mesh", "fsdp=2,tp=2", "--ep"]
        save = os.path.join(d, "save")
        p = subprocess.Popen([TRAINER, *map(str, common), "--steps", "100000", "--save", save], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in p.stdout:
            if line.startswith("step"):
                break
        time.sleep(0.3)
        p.send_signal(signal.SIGTERM)
        _, err = p.communicate(timeout=120)
        report.check(p.returncode == 3 and "--resume" in err, f"SIGTERM: exit {p.returncode}, {err}")
        saved = [int(n[5:]) for n in os.listdir(save) if n.startswith("step-")]
        report.check(len(saved) == 1, f"SIGTERM: saved {saved}")
        out, _ = run(*common, "--steps", saved[0] + 2, "--resume", save, "--save", save)
        # a terminal that closes, a reader of stdout that goes away: as SIGTERM; a full disk behind stdout does not end training
        for what in ("SIGHUP", "SIGPIPE"):
            save = os.path.join(d, what)
            p = subprocess.Popen([TRAINER, *map(str, common), "--steps", "100000", "--save", save], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for line in p.stdout:
                if line.startswith("step"):
                    break
            if what == "SIGHUP":
                p.send_signal(signal.SIGHUP)
                p.send_signal(signal.SIGHUP)
                _, err = p.communicate(timeout=120)
            else:
                p.stdout.close()
                err = p.stderr.read()
                p.wait(timeout=120)
            report.check(p.returncode == 3 and "--resume" in err, f"{what}: exit {p.returncode}, {err}")
            report.check(sum(n.startswith("step-") for n in os.listdir(save)) == 1, f"{what}: saved {os.listdir(save)}")
        with open("/dev/full", "w") as full:
            p = subprocess.run([TRAINER, *map(str, common), "--steps", "60", "--save", os.path.join(d, "full")], stdout=full, stderr=subprocess.PIPE, text=True)
        report.check(os.path.isdir(step(os.path.join(d, "full"), 60)) and p.returncode == 1, f"a full disk behind stdout: exit {p.returncode}, {p.stderr}")
        report.check(f"step {saved[0] + 1}/" in out.replace(" ", "").replace("step", "step ") or f"{saved[0] + 1}/{saved[0] + 2}" in out, "SIGTERM: not continued")


def refused():
    def refuse(what, words, *args):
        _, err = run(*args, expect=2)
        last = err.strip().splitlines()[-1]
        report.check(all(w in last for w in words) and len(last) < 700, f"{what}: {last!r}")
    with scratch() as d:
        train = ["train", "--model", folder("mixtral"), "--tokens", tokens_of("mixtral")]
        save = os.path.join(d, "save")
        run(*train, "--steps", 2, "--save", save)
        refuse("a folder in use", ["step 2", "--resume"], *train, "--steps", 4, "--save", save)
        run(*train, "--steps", 4, "--resume", save, "--save", save)
        refuse("later steps in the way", ["step 4", "step 2"], *train, "--steps", 4, "--resume", step(save, 2), "--save", save)
        refuse("a checkpoint as the folder for more", ["is a checkpoint", "the folder that it is in"], *train, "--steps", 6, "--resume", step(save, 4), "--save", step(save, 4))
        refuse("another model", ["another model"], "train", "--model", folder("qwen3_moe"), "--tokens", tokens_of("qwen3_moe"), "--resume", save)
        refuse("no such folder", ["is not there"], *train, "--resume", os.path.join(d, "none"))
        refuse("a folder without checkpoints", ["holds no checkpoint"], *train, "--resume", d)
        refuse("a file", ["is not a folder"], *train, "--resume", tokens_of("mixtral"))
        refuse("--keep without --save", ["--save"], *train, "--keep", 2)
        refuse("--save-every 0", ["--save-every"], *train, "--save", save, "--save-every", 0)
        refuse("parent missing", ["create it first"], *train, "--save", os.path.join(d, "no", "save"))
        refuse("no tool", ["subcommand"], "checkpoint")
        refuse("one folder for diff", ["folders"], "checkpoint", "diff", save)
        out, _ = run(*train, "--steps", 4, "--resume", save)
        report.check("done already" in out, f"nothing to do: {out}")
        # a checkpoint is a model wherever --model is taken
        run("train", "--model", save, "--tokens", tokens_of("mixtral"), "--steps", 5, "--resume", save)
        # without optimizer state a folder cannot be continued, only loaded
        out = os.path.join(d, "hf")
        run(*train, "--steps", 0, "--export", out)
        refuse("an export", ["holds no checkpoint"], *train, "--resume", out)
        refuse("checkpoints beside a model, which --model would then pass over", ["holds a model"], *train, "--steps", 1, "--save", out)
        os.mkdir(step(out, 3))
        refuse("a step's folder without a manifest", ["step-00000003", "has no plait.json"], *train, "--resume", out)


resume_is_bitwise()
other_types()
demo()
tools()
exports_in_parts()
foreign_shards()
full_disk()
signals()
refused()
report.close()
