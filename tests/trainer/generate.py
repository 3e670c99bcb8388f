"""Generation: greedy ids are transformers', drawn ids are the same under every plan, with and without a cache, in batches of any size."""
import json
import os
import pty
import random
import shutil
import subprocess

from lib_trainer import ORACLES, PLANS, TRAINER, Report, Safetensors, last_json, run, scratch, write_safetensors

report = Report()
MIXTRAL = os.path.join(ORACLES, "mixtral")
SOME = [[1, 2, 3], [50, 48, 50, 23, 6, 5, 47, 30], [9], [7, 8, 90, 12, 33]]


def prompts(*rows):
    return [a for row in rows for a in ("--prompt-ids", ",".join(map(str, row)))]


def generate(model, *args):
    out, _ = run("generate", "--model", model, *args)
    return [json.loads(line) for line in out.split("\n") if line]


def ids(rows):
    return [row["ids"] for row in rows]


def refuse(what, words, *args):
    p = subprocess.run([TRAINER, "generate", *map(str, args)], capture_output=True, text=True, errors="replace", timeout=120)
    line = p.stderr.strip().splitlines()[-1] if p.stderr.strip() else ""
    ok = p.returncode == 2 and all(w in line for w in words) and line.startswith("moe_trainer: ") and len(line) < 500 and not p.stdout
    report.check(ok, f"{what}: exit {p.returncode}, last line {line!r} (wanted {words})")


def changed(folder, d, name, **values):
    """A copy of the model with other values in config.json or generation_config.json (None removes the file)."""
    copy = os.path.join(d, "model")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    path = os.path.join(copy, name)
    os.chmod(path, 0o644)
    with open(path) as f:
        now = json.load(f)
    now.update(values)
    with open(path, "w") as f:
        json.dump(now, f)
    return copy


for model in ("mixtral", "qwen3_moe", "qwen3_moe_tied"):
    folder = os.path.join(ORACLES, model)
    facts = json.load(open(os.path.join(folder, "oracle.json")))
    greedy, train = facts["greedy"], facts["train"]
    new = len(greedy["ids"]) - len(greedy["prompt"])
    with scratch() as d:
        export = os.path.join(d, "export")
        run("train", "--model", folder, "--tokens", os.path.join(folder, "oracle.safetensors"), "--steps", train["steps"], "--lr", train["lr"],
            "--weight-decay", train["weight_decay"], "--clip", train["clip_grad_norm"], "--export", export)
        sampled = None
        for plan, flags in PLANS:
            for cache in ([], ["--no-cache"]):
                name = f"{model} under {plan} {' '.join(cache)}"
                got = generate(export, *prompts(greedy["prompt"]), "--max-new-tokens", new, *flags, *cache)
                report.check(ids(got) == [greedy["ids"]], f"{name}: greedy ids {ids(got)}")
                report.check(got[0]["new_ids"] == greedy["ids"][len(greedy["prompt"]):], f"{name}: new ids")
                # greedy in a batch: the oracle's row among shorter ones
                got = generate(export, *prompts([5], greedy["prompt"], [1, 2, 3]), "--new-tokens", new, *flags, *cache)
                report.check(ids(got)[1] == greedy["ids"], f"{name}: greedy ids in a batch")
                got = ids(generate(export, *prompts(*SOME), "--max-new-tokens", 20, "--temperature", 0.8, "--top-k", 40, "--top-p", 0.9,
                                   "--seed", 3, *flags, *cache))
                sampled = sampled or got
                report.check(got == sampled and all(len(g) == len(s) + 20 for g, s in zip(got, SOME)), f"{name}: drawn ids {got}")
        for batch in (1, 2, 3, 4):
            for flags in ([], ["--mesh", "fsdp=2,tp=2", "--sp", "--ep"], ["--mesh", "fsdp=4"]):
                got = ids(generate(export, *prompts(*SOME), "--max-new-tokens", 20, "--temperature", 0.8, "--top-k", 40, "--top-p", 0.9, "--seed",
                                   3, "--batch", batch, *flags))
                report.check(got == sampled, f"{model}: drawn ids in batches of {batch} {flags}")
        for seed in (4, 5):
            got = ids(generate(export, *prompts(*SOME), "--max-new-tokens", 20, "--temperature", 0.8, "--seed", seed))
            report.check(got != sampled, f"{model}: seed {seed} draws what seed 3 draws")
        got = generate(export, *prompts(*SOME), "--max-new-tokens", 20, "--temperature", 0.8, "--top-k", 1)
        want = generate(export, *prompts(*SOME), "--max-new-tokens", 20)
        report.check(ids(got) == ids(want), f"{model}: --top-k 1 is not greedy")
    print(f"{model}: {len(PLANS)} plans compared", flush=True)

for plan, flags in PLANS:
    for dtype in ("f32", "bf16"):
        one, two = (generate(MIXTRAL, *prompts(*SOME), "--dtype", dtype, "--check", *flags, *cache) for cache in ([], ["--no-cache"]))
        report.check(all(len(r["new_ids"]) == 16 for r in one + two), f"{dtype} under {plan}: {one}")
        report.check(one == two, f"{dtype} under {plan}: the cache changes ids")
print("float32 and bf16 under every plan", flush=True)

# where a row ends ----------------------------------------------------------------------------------------------------------
free = generate(MIXTRAL, *prompts(*SOME), "--max-new-tokens", 12)


def cut(rows, stops):
    out = []
    for row in rows:
        at = next((i for i, t in enumerate(row["new_ids"]) if t in stops), None)
        out.append((row["new_ids"] if at is None else row["new_ids"][:at + 1], at is not None))
    return out


stops = [free[0]["new_ids"][2], free[3]["new_ids"][5]]
want = cut(free, stops)
report.check(any(s for _, s in want) and want != cut(free, []), f"stop ids {stops} end no row")
listed = ",".join(map(str, stops))
with scratch() as d:
    for what, model, extra in (
        ("--stop-id", MIXTRAL, ["--stop-id", listed]),
        ("--stop-id twice", MIXTRAL, ["--stop-id", stops[0], "--stop-id", stops[1]]),
        ("generation_config.json", changed(MIXTRAL, d, "generation_config.json", eos_token_id=stops), []),
    ):
        for flags in ([], ["--no-cache"], ["--mesh", "tp=2", "--sp", "--ep", "--ep-mode", "dispatch"], ["--mesh", "fsdp=3"]):
            got = generate(model, *prompts(*SOME), "--max-new-tokens", 12, *extra, *flags)
            report.check([(g["new_ids"], g["stopped"]) for g in got] == want, f"{what} {flags}: {got}, wanted {want}")
    for name in ("config.json", "generation_config.json"):
        got = generate(changed(MIXTRAL, d, name, eos_token_id=stops[0]), *prompts(*SOME), "--max-new-tokens", 12)
        report.check([(g["new_ids"], g["stopped"]) for g in got] == cut(free, stops[:1]), f"eos_token_id of {name}: {got}")
    got = generate(MIXTRAL, *prompts(*SOME), "--max-new-tokens", 0)
    report.check([(g["ids"], g["new_ids"]) for g in got] == [(s, []) for s in SOME], f"no new tokens: {got}")
print("stop ids compared", flush=True)

# text ------------------------------------------------------------------------------------------------------------------------
with scratch() as d:
    texts = ["AB 12", "C", "HI!"]
    objects = generate(MIXTRAL, *[a for t in texts for a in ("--prompt", t)], "--json")
    new = [bytes(o["new_ids"]) for o in objects]
    report.check([bytes(o["ids"]) for o in objects] == [t.encode() + n for t, n in zip(texts, new)], f"ids of texts: {objects}")
    report.check([o["text"].encode() for o in objects] == new, "text of new ids")
    want = b"".join(t.encode() + n + b"\n" for t, n in zip(texts, new))
    path = os.path.join(d, "prompts.txt")
    with open(path, "wb") as f:
        f.write(b"AB 12\r\nC\nHI!\n")
    for args in ([a for t in texts for a in ("--prompt", t)], ["--prompts", path], ["--prompts", path, "--batch", "2"],
                 ["--prompts", path, "--mesh", "fsdp=2,tp=2", "--ep", "--ep-mode", "dispatch"]):
        p = subprocess.run([TRAINER, "generate", "--model", MIXTRAL, *args], capture_output=True, timeout=120)
        report.check(p.returncode == 0 and p.stdout == want, f"text of {args}: {p.stdout!r}, wanted {want!r}")
        report.check(b"tokens/s" in p.stderr.strip().splitlines()[-1], f"no rate at the end of stderr: {p.stderr!r}")
    control, terminal = pty.openpty()  # a terminal: the same text, flushed as it comes
    p = subprocess.Popen([TRAINER, "generate", "--model", MIXTRAL, "--prompts", path], stdout=terminal, stderr=subprocess.DEVNULL)
    os.close(terminal)
    seen = b""
    while True:
        try:
            part = os.read(control, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
    report.check(p.wait(timeout=120) == 0 and seen == want.replace(b"\n", b"\r\n"), f"text on a terminal: {seen!r}")
print("texts compared", flush=True)

# the model's tokenizer -------------------------------------------------------------------------------------------------------
TOKENIZERS = os.path.join(os.path.dirname(ORACLES), "data", "tokenizers")
VERSE = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(ORACLES))), "examples", "data", "verse.txt")


def with_tokenizer(d, name, vocabulary):
    """The model with a tokenizer beside it and, where it needs one, a larger vocabulary of random rows."""
    copy = changed(MIXTRAL, d, "config.json", vocab_size=vocabulary)
    shutil.copy(os.path.join(TOKENIZERS, name, "tokenizer.json"), copy)
    if vocabulary == 96:
        return copy
    rng, path = random.Random(5), os.path.join(copy, "model.safetensors")
    model = Safetensors(path)
    tensors = {n: ("F32", model.shape(n), model.read(n)) for n in model.names()}
    for n in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[n] = ("F32", [vocabulary, 32], [rng.gauss(0, 1) for _ in range(32 * vocabulary)])
    os.chmod(path, 0o644)
    write_safetensors(path, tensors)
    return copy


with scratch() as d:
    for name in ("gpt2", "llama3"):
        model = with_tokenizer(d, name, 352)
        cases = [json.loads(line) for line in open(os.path.join(TOKENIZERS, name, "cases.jsonl"))]
        cases = [c for c in cases if c.get("add_special") and c.get("ids") and len(c["ids"]) < 200 and not set(c["text"]) & set("\0\r\n")][:8]
        report.check(len(cases) == 8, f"{name}: only {len(cases)} texts to compare")
        args = [f"--prompt={c['text']}" for c in cases]
        for flags in ([], ["--mesh", "fsdp=2,tp=2", "--sp", "--ep"]):
            objects = generate(model, *args, "--json", "--temperature", 1, "--max-new-tokens", 40, *flags)
            for o, c in zip(objects, cases):
                report.check(o["ids"][:-40] == c["ids"] and len(o["new_ids"]) == 40, f"{name}: ids of {c['text']!r}: {o['ids']}")
            p = subprocess.run([TRAINER, "generate", "--model", model, *args, "--temperature", "1", "--max-new-tokens", "40", *flags],
                               capture_output=True, timeout=120)
            want = "".join(c["text"] + o["text"] + "\n" for o, c in zip(objects, cases))
            report.check(p.stdout.decode("utf-8") == want and any(o["text"] for o in objects), f"{name}: {p.stdout!r}, wanted {want!r}")
        refuse("tokenizer larger than the model", ["vocab_size", "96"], "--model", with_tokenizer(d, name, 96), "--prompt", "A")
    # Texts to train on go through it, too.
    model = with_tokenizer(d, "gpt2", 352)
    by_tokens = last_json(run("eval", "--model", model, "--tokens", VERSE, "--seq", 16)[0])["tokens"]
    os.remove(os.path.join(model, "tokenizer.json"))
    by_bytes = last_json(run("eval", "--model", model, "--tokens", VERSE, "--seq", 16)[0])["tokens"]
    report.check(by_bytes == os.path.getsize(VERSE) // 16 * 16 and 0.3 * by_bytes < by_tokens < by_bytes, f"tokens of a text: {by_tokens}, {by_bytes} bytes")
print("tokenizers compared", flush=True)

# bad input -------------------------------------------------------------------------------------------------------------------
base = ["--model", MIXTRAL, "--prompt-ids", "1,2,3"]
refuse("temperature below 0", ["--temperature"], *base, "--temperature", -0.5)
refuse("temperature nan", ["--temperature"], *base, "--temperature", "nan")
refuse("temperature text", ["--temperature"], *base, "--temperature", "hot")
refuse("top-p 0", ["--top-p"], *base, "--temperature", 1, "--top-p", 0)
refuse("top-p above 1", ["--top-p"], *base, "--temperature", 1, "--top-p", 1.5)
refuse("top-p nan", ["--top-p"], *base, "--temperature", 1, "--top-p", "nan")
refuse("top-k negative", ["--top-k"], *base, "--temperature", 1, "--top-k", -1)
refuse("top-k without temperature", ["--top-k", "--temperature"], *base, "--top-k", 5)
refuse("empty prompt", ["empty"], "--model", MIXTRAL, "--prompt", "")
refuse("one empty prompt of two", ["--prompt", "prompt 1", "empty"], "--model", MIXTRAL, "--prompt", "A", "--prompt", "")
refuse("empty ids", ["empty"], "--model", MIXTRAL, "--prompt-ids", "")
refuse("no prompt", ["--prompt"], "--model", MIXTRAL)
refuse("two kinds of prompt", ["--prompt", "--prompt-ids"], *base, "--prompt", "A")
refuse("id outside", ["--prompt-ids", "prompt 1", "96"], *base, "--prompt-ids", "4,96")
refuse("id negative", ["-1"], "--model", MIXTRAL, "--prompt-ids=-1")
refuse("stop id outside", ["--stop-id", "96"], *base, "--stop-id", 96)
refuse("stop id text", ["--stop-id", "'x'"], *base, "--stop-id", "x")
refuse("new tokens negative", ["--max-new-tokens"], *base, "--max-new-tokens", -1)
refuse("beyond the positions", ["prompt 0", "max_position_embeddings", "256"], *base, "--max-new-tokens", 254)
report.check(len(generate(MIXTRAL, "--prompt-ids", "1,2,3", "--max-new-tokens", 253)[0]["ids"]) == 256, "the last positions are not used")
refuse("prompts not there", ["/nowhere.txt"], "--model", MIXTRAL, "--prompts", "/nowhere.txt")
with scratch() as d:
    path = os.path.join(d, "p.txt")
    for what, text, words in (("empty file", "", ["p.txt"]), ("empty line", "A\n\nB\n", ["p.txt", "line 2"])):
        with open(path, "w") as f:
            f.write(text)
        refuse(what, words, "--model", MIXTRAL, "--prompts", path)
    refuse("stop id of the model outside", ["generation_config.json", "eos_token_id", "96"], "--model",
           changed(MIXTRAL, d, "generation_config.json", eos_token_id=[3, 96]), "--prompt-ids", "1")
    refuse("stop id of the model as text", ["generation_config.json", "eos_token_id"], "--model",
           changed(MIXTRAL, d, "generation_config.json", eos_token_id="</s>"), "--prompt-ids", "1")
report.close()
