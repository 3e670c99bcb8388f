"""Bad input: the right exit code, one clear last line on stderr that names what is wrong, and nothing written."""
import json
import os
import shutil
import subprocess

from lib_trainer import ORACLES, TRAINER, Report, Safetensors, scratch, write_safetensors

report = Report()
MIXTRAL = os.path.join(ORACLES, "mixtral")
TOKENS = os.path.join(MIXTRAL, "oracle.safetensors")


def refuse(what, code, words, *args):
    p = subprocess.run([TRAINER, *map(str, args)], capture_output=True, text=True, errors="replace", timeout=120)
    line = p.stderr.strip().splitlines()[-1] if p.stderr.strip() else ""
    ok = p.returncode == code and all(w in line for w in words) and len(line) < 500 and line.startswith("moe_trainer: ")
    report.check(ok, f"{what}: exit {p.returncode} (wanted {code}), last line: {line!r} (wanted {words})")
    return p


def model_with(d, change=None, raw=None, weights=None):
    """A copy of the model with a changed config (dict -> dict), raw config text, or changed weights."""
    path = os.path.join(d, "model")
    shutil.copytree(MIXTRAL, path)
    for name in os.listdir(path):
        os.chmod(os.path.join(path, name), 0o644)
    config = os.path.join(path, "config.json")
    if change:
        values = json.load(open(config))
        change(values)
        json.dump(values, open(config, "w"))
    if raw is not None:
        open(config, "w").write(raw)
    if weights:
        file = os.path.join(path, "model.safetensors")
        model = Safetensors(file)
        tensors = {n: ["F32", model.shape(n), model.read(n)] for n in model.names()}
        weights(tensors)
        write_safetensors(file, tensors)
    return path


# flags -------------------------------------------------------------------------------------------------------------------
evaluate = ["eval", "--model", MIXTRAL, "--tokens", TOKENS]
refuse("no command", 2, ["subcommand"])
refuse("unknown flag", 2, ["--nope"], *evaluate, "--nope")
refuse("unknown axis", 2, ["--mesh", "'xp'"], *evaluate, "--mesh", "xp=2")
refuse("reserved axis", 2, ["pp", "reserved"], *evaluate, "--mesh", "pp=2")
refuse("axis twice", 2, ["tp", "twice"], *evaluate, "--mesh", "tp=2,tp=2")
refuse("axis size 0", 2, ["tp=0"], *evaluate, "--mesh", "tp=0")
refuse("axis size text", 2, ["'two'"], *evaluate, "--mesh", "tp=two")
refuse("axis size overflow", 2, ["99999999999999999999"], *evaluate, "--mesh", "tp=99999999999999999999")
refuse("other processes than ranks", 2, ["4 ranks", "2 processes", "--mesh"], *evaluate, "--mesh", "tp=4", "--processes", 2)
refuse("explain of a rank that is not there", 2, ["--rank", "has 2"], "explain", "--mesh", "tp=2", "--rank", 2)
refuse("--ep without ranks", 2, ["--ep", "tp=2"], *evaluate, "--ep")
refuse("ep without --ep", 2, ["--ep"], *evaluate, "--mesh", "fsdp=2,ep=2")
refuse("ep-mode without --ep", 2, ["--ep-mode", "--ep"], *evaluate, "--mesh", "tp=2", "--ep-mode", "dispatch")
refuse("ep-mode unknown", 2, ["--ep-mode", "scatter"], *evaluate, "--mesh", "tp=2", "--ep", "--ep-mode", "scatter")
refuse("tp does not divide ep", 2, ["tp=4", "ep=2"], *evaluate, "--mesh", "tp=4,ep=2", "--ep")
refuse("ep does not divide ranks", 2, ["ep=4", "fsdp x tp"], *evaluate, "--mesh", "fsdp=3,tp=2,ep=4", "--ep")
refuse("heads not divided", 2, ["plait[indivisible]", "k_proj", "--kv-heads replicate"], *evaluate, "--mesh", "tp=8")
refuse("heads not divided, seen before the run", 2, ["plait[indivisible]", "k_proj", "--kv-heads replicate"], "explain", "--mesh", "tp=8")
refuse("query heads not divided", 2, ["plait[indivisible]", "q_proj"], *evaluate, "--mesh", "tp=3", "--kv-heads", "replicate")
refuse("experts not divided", 2, ["plait[indivisible]"], *evaluate, "--mesh", "fsdp=3,ep=3", "--ep")
os.environ["CUDA_VISIBLE_DEVICES"] = "none"
refuse("no GPU", 2, ["--backend cuda"], *evaluate, "--backend", "cuda")
del os.environ["CUDA_VISIBLE_DEVICES"]
refuse("mesh and ranks", 2, ["--ranks", "--mesh"], *evaluate, "--mesh", "tp=2", "--ranks", "2")
refuse("negative steps", 2, ["--steps"], "train", "--model", MIXTRAL, "--tokens", TOKENS, "--steps", "-1")
refuse("no tokens", 2, ["--tokens"], "train", "--model", MIXTRAL)
refuse("no model", 2, ["--model"], "eval", "--tokens", TOKENS)
refuse("no prompt", 2, ["prompt"], "generate", "--model", MIXTRAL)
refuse("prompt id outside", 2, ["96"], "generate", "--model", MIXTRAL, "--prompt-ids", "96")
refuse("prompt id text", 2, ["'x'"], "generate", "--model", MIXTRAL, "--prompt-ids", "1,x")
refuse("wrong dtype", 2, ["f16"], *evaluate, "--dtype", "f16")
refuse("wrong command", 2, ["'trian'", "train, eval"], "trian", "--tokens", TOKENS)
refuse("a folder without a name", 2, ["ls", "empty"], "checkpoint", "ls", "")
refuse("wrong tool", 2, ["'list'", "verify"], "checkpoint", "list", "x")
refuse("a flag misspelt", 2, ["--token;", "--tokens is meant"], *evaluate, "--token", TOKENS)
refuse("another command's flag", 2, ["--steps", "of train"], *evaluate, "--steps", 3)
refuse("a flag before the command", 2, ["--tokens", "after"], "--tokens", TOKENS, "eval")
refuse("a value too many", 2, ["'fsdp=2'"], *evaluate, "--mesh", "tp=2", "fsdp=2")
refuse("no value", 2, ["--mesh", "value"], *evaluate, "--mesh")
refuse("a flag twice", 2, ["--tokens", "more than once"], *evaluate, "--tokens", TOKENS)
refuse("no ranks", 2, ["--ranks", "0"], *evaluate, "--ranks", 0)
refuse("negative seed", 2, ["--seed", "-1"], *evaluate, "--seed", -1)
refuse("negative threads", 2, ["--threads", "1024"], *evaluate, "--threads", -1)
refuse("deadline that is no number", 2, ["--deadline"], *evaluate, "--deadline", "nan")
refuse("--tokens of generate", 2, ["--tokens", "of train"], "generate", "--model", MIXTRAL, "--prompt-ids", 1, "--tokens", TOKENS)
refuse("more new tokens than numbers", 2, ["max_position_embeddings"], "generate", "--model", MIXTRAL, "--prompt-ids", 1, "--max-new-tokens", 2 ** 63 - 1)
refuse("one step, huge", 2, ["--batch", "limit"], *evaluate, "--batch", 10 ** 11)
refuse("a step explained, huge", 2, ["--batch", "limit"], "explain", "--batch", 10 ** 18, "--seq", 10 ** 18)
for flag in ("--batch", "--seq", "--steps", "--seed", "--grad-accumulation", "--save-every", "--keep"):
    for value in ("9" * 25, "1.5", "1e3", "0x10", "x"):
        refuse(f"{flag} {value}", 2, [flag, value], "train", "--tokens", TOKENS, "--save", "save", flag, value)
refuse("a warm-up that does not end", 2, ["--warmup", "200", "100"], "train", "--tokens", TOKENS, "--warmup", 200)
refuse("no steps back", 2, ["--warmup", "-1"], "train", "--tokens", TOKENS, "--warmup", -1)
refuse("an end without a fall", 2, ["--min-lr", "--lr-schedule"], "train", "--tokens", TOKENS, "--min-lr", 1e-4)
refuse("an end above the start", 2, ["--min-lr", "--lr"], "train", "--tokens", TOKENS, "--lr-schedule", "cosine", "--min-lr", 1)
for flag in ("--lr", "--min-lr", "--weight-decay", "--clip"):
    for value in ("nan", "inf", "1e400", "-1", "x"):
        refuse(f"{flag} {value}", 2, [flag, "number"], "train", "--tokens", TOKENS, flag, value)
for flag in ("--model", "--mesh", "--save", "--export", "--resume", "--log"):  # "$NOT_SET" must not mean: without
    refuse(f"{flag} without text", 2, [flag, "empty"], "train", "--tokens", TOKENS, "--steps", 1, flag, "")

# files -------------------------------------------------------------------------------------------------------------------
refuse("model not there", 2, ["/nowhere"], "eval", "--model", "/nowhere", "--tokens", TOKENS)
refuse("tokens not there", 2, ["/nowhere.safetensors"], "eval", "--model", MIXTRAL, "--tokens", "/nowhere.safetensors")
refuse("dump folder not there", 2, ["/nowhere"], *evaluate, "--dump", "/nowhere/dump.safetensors")
with scratch() as d:
    file, inner = os.path.join(d, "file"), os.path.join(d, "inner")
    open(file, "w").write("kept")
    os.mkdir(inner)
    train = ["train", "--model", MIXTRAL, "--tokens", TOKENS, "--steps", 1]
    for flag in ("--save", "--export"):
        refuse(f"{flag} a file", 2, [flag, "is not a folder"], *train, flag, file)
        refuse(f"{flag} below a file", 2, [flag, file], *train, flag, os.path.join(file, "x"))
        refuse(f"{flag}, a name too long", 2, [flag, "too long"], *train, flag, os.path.join(d, "x" * 300))
    refuse("--log a folder", 2, ["--log", "is a folder"], *train, "--log", inner)
    refuse("--log another file", 2, ["--log", file, "is no log"], *train, "--log", file)
    refuse("--dump a folder", 2, ["--dump", "is a folder"], *evaluate, "--dump", inner)
    refuse("--dump a device", 2, ["--dump", "regular"], *evaluate, "--dump", "/dev/null")
    refuse("--model a file", 2, ["is a file", "folder"], "eval", "--model", file, "--tokens", TOKENS)
    save = os.path.join(d, "save")
    for out in (save, save + "/", os.path.join(inner, "..", "save")):
        refuse(f"one folder for both, as {out}", 2, ["--export", "--save"], *train, "--save", save, "--export", out)
    subprocess.run([TRAINER, *map(str, train), "--save", save], check=True, capture_output=True)
    refuse("--export beside checkpoints", 2, ["--export", "holds checkpoints"], *train, "--export", save)
    p = refuse("--save beside checkpoints, by processes", 2, [f"moe_trainer: rank 0: --save {save}: holds a checkpoint of step 1; continue it with --resume {save} or choose another folder"],
               *train, "--save", save, "--mesh", "tp=2", "--processes", 2)
    report.check("was in" not in p.stderr, f"bad input that one process finds: {p.stderr}")
    lacking = os.path.join(d, "lacking")
    shutil.copytree(save, lacking)
    os.remove(os.path.join(lacking, "step-00000001", "shard-00001-model-00001-of-00001.safetensors"))
    refuse("a file of a checkpoint that is gone", 2, ["lacking/step-00000001/shard-00001", "use another checkpoint"], *train, "--resume", lacking)
    refuse("--resume a model", 2, [MIXTRAL, "holds no checkpoint", "--model"], *train, "--resume", MIXTRAL)
    for out in (save, os.path.join(save, "step-00000001")):
        refuse("merge into checkpoints", 2, ["merge", "holds checkpoints"], "checkpoint", "merge", save, out)
    refuse("merge onto a file", 2, ["merge", "is not a folder"], "checkpoint", "merge", save, file)
    report.check(open(file).read() == "kept" and os.listdir(inner) == [], "a refused run wrote something")
    # a run that diverges says at which step
    refuse("a rate too large", 1, ["step 2", "--lr"], *train[:-2], "--steps", 3, "--lr", 1e30)
    # what may be there: a folder with a slash at its end, a device for the log, and a text in rows of 64 without being told
    text = os.path.join(d, "text")
    open(text, "w").write("once upon a time " * 20)
    new = os.path.join(d, "new") + "/"
    for args in (["train", "--tokens", text, "--steps", 1, "--log", "/dev/null", "--export", new], ["eval", "--model", new, "--tokens", text]):
        p = subprocess.run([TRAINER, *map(str, args)], capture_output=True, text=True)
        report.check(p.returncode == 0, f"{args}: exit {p.returncode}, {p.stderr}")
    # a step of a long text is 64 rows, not the whole text
    open(text, "w").write("once upon a time " * 1000)
    p = subprocess.run([TRAINER, "train", "--tokens", text, "--seq", "16", "--steps", "1", "--log", file + ".log"], capture_output=True, text=True)
    report.check(p.returncode == 0 and json.loads(open(file + ".log").read())["tokens"] == 64 * 16, f"a long text: {p.stdout} {p.stderr}")
    if os.geteuid() != 0:
        os.chmod(inner, 0o555)
        for flag in ("--save", "--export"):
            refuse(f"{flag}, no permission", 2, [flag, "ermission"], *train, flag, inner)
    for args in (["explain"], evaluate, ["generate", "--model", MIXTRAL, "--prompt-ids", "1"], ["checkpoint", "ls", save]):
        with open("/dev/full", "w") as full:
            p = subprocess.run([TRAINER, *map(str, args)], stdout=full, stderr=subprocess.PIPE, text=True)
        report.check(p.returncode == 1 and any(w in p.stderr.splitlines()[-1] for w in ("could not be written", "No space left")), f"a full disk behind stdout: {args}: {p.returncode}, {p.stderr!r}")
with scratch() as d:
    empty = os.path.join(d, "empty.txt")
    open(empty, "w").close()
    refuse("empty text", 2, ["empty.txt"], "train", "--tokens", empty)
    short = os.path.join(d, "short.txt")
    open(short, "w").write("hello")
    refuse("short text", 2, ["short.txt", "--seq"], "train", "--tokens", short)
    bad = os.path.join(d, "bad.safetensors")
    open(bad, "wb").write(b"\xff" * 64)
    refuse("hostile safetensors", 2, ["bad.safetensors"], "eval", "--model", MIXTRAL, "--tokens", bad)
    write_safetensors(bad, {"input_ids": ("I64", [1, 4], [1, 2, 96, 3])})
    refuse("token outside vocabulary", 2, ["bad.safetensors", "96"], "eval", "--model", MIXTRAL, "--tokens", bad)
    write_safetensors(bad, {"input_ids": ("I64", [0, 4], [])})
    refuse("no rows", 2, ["bad.safetensors"], "eval", "--model", MIXTRAL, "--tokens", bad)
    write_safetensors(bad, {"input_ids": ("I64", [1, 3], [1, 2, 3]), "labels": ("I64", [1, 3], [-100, -100, -100])})
    refuse("no labels", 2, ["label"], "eval", "--model", MIXTRAL, "--tokens", bad)
    write_safetensors(bad, {"input_ids": ("I64", [1, 3], [1, 2, 3]), "attention_mask": ("I64", [1, 3], [0, 1, 1])})
    refuse("left padding", 2, ["attention_mask", "row 0"], "eval", "--model", MIXTRAL, "--tokens", bad)

for what, words, change in (
    ("unknown family", ["model_type", "bert"], lambda c: c.update(model_type="bert")),
    ("family missing", ["model_type"], lambda c: c.pop("model_type")),
    ("hidden missing", ["hidden_size"], lambda c: c.pop("hidden_size")),
    ("hidden as text", ["hidden_size"], lambda c: c.update(hidden_size="32")),
    ("negative layers", ["num_hidden_layers"], lambda c: c.update(num_hidden_layers=-2)),
    ("overflowing vocabulary", ["vocab_size"], lambda c: c.update(vocab_size=2 ** 63)),
    ("fractional heads", ["num_attention_heads"], lambda c: c.update(num_attention_heads=8.5)),
    ("top-k above experts", ["num_experts_per_tok"], lambda c: c.update(num_experts_per_tok=9)),
    ("quantised", ["quantization_config"], lambda c: c.update(quantization_config={"bits": 4})),
    ("sliding window", ["sliding_window"], lambda c: c.update(sliding_window="all")),
    ("another shape", ["shape"], lambda c: c.update(hidden_size=64)),
    ("a layer too many", ["missing"], lambda c: c.update(num_hidden_layers=3)),
):
    with scratch() as d:
        path = model_with(d, change)
        export = os.path.join(d, "export")
        refuse(what, 2, words, "train", "--model", path, "--tokens", TOKENS, "--steps", 1, "--export", export)
        report.check(not os.path.exists(export), f"{what}: something was written")
for what, raw in (("no JSON", "{"), ("deep nesting", "[" * 200000), ("an array", "[]"), ("empty", "")):
    with scratch() as d:
        refuse("config.json: " + what, 2, ["config.json"], "eval", "--model", model_with(d, raw=raw), "--tokens", TOKENS)
with scratch() as d:
    path = model_with(d)
    os.remove(os.path.join(path, "model.safetensors"))
    index = os.path.join(path, "model.safetensors.index.json")
    for name in ("../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", "x\u0000y.safetensors", "missing.safetensors"):
        json.dump({"metadata": {}, "weight_map": {"lm_head.weight": name}}, open(index, "w"))
        refuse(f"index names {name!r}", 2, ["model.safetensors.index.json"] if name != "missing.safetensors" else ["missing.safetensors"],
               "eval", "--model", path, "--tokens", TOKENS)
with scratch() as d:
    def poison(tensors):
        tensors["model.layers.1.block_sparse_moe.gate.weight"][2][5] = float("nan")
    path = model_with(d, weights=poison)
    for flags in ([], ["--mesh", "fsdp=2,tp=2", "--sp", "--ep"]):
        log, export = os.path.join(d, "log"), os.path.join(d, "export")
        refuse("NaN router", 1, [], "train", "--model", path, "--tokens", TOKENS, "--steps", 2, "--export", export, *flags)
        refuse("NaN router", 1, [], "generate", "--model", path, "--prompt-ids", "1,2", *flags)
        report.check(not os.path.exists(export), "NaN router: something was exported")
report.close()
