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
refuse("--ep without ranks", 2, ["--ep", "tp=2"], *evaluate, "--ep")
refuse("ep without --ep", 2, ["--ep"], *evaluate, "--mesh", "fsdp=2,ep=2")
refuse("ep-mode without --ep", 2, ["--ep-mode", "--ep"], *evaluate, "--mesh", "tp=2", "--ep-mode", "dispatch")
refuse("ep-mode unknown", 2, ["--ep-mode", "scatter"], *evaluate, "--mesh", "tp=2", "--ep", "--ep-mode", "scatter")
refuse("tp does not divide ep", 2, ["tp=4", "ep=2"], *evaluate, "--mesh", "tp=4,ep=2", "--ep")
refuse("ep does not divide ranks", 2, ["ep=4", "fsdp x tp"], *evaluate, "--mesh", "fsdp=3,tp=2,ep=4", "--ep")
refuse("heads not divided", 2, ["plait[indivisible]", "k_proj", "--kv-heads replicate"], *evaluate, "--mesh", "tp=8")
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

# files -------------------------------------------------------------------------------------------------------------------
refuse("model not there", 2, ["/nowhere"], "eval", "--model", "/nowhere", "--tokens", TOKENS)
refuse("tokens not there", 2, ["/nowhere.safetensors"], "eval", "--model", MIXTRAL, "--tokens", "/nowhere.safetensors")
refuse("dump folder not there", 2, ["/nowhere"], *evaluate, "--dump", "/nowhere/dump.safetensors")
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
