"""Every oracle under every plan: logits, loss, each gradient, ten optimizer steps and greedy ids equal transformers' own numbers.

Usage: oracles.py [MODEL ...]   (default: all). --table prints the worst errors of each model and plan. PLAIT_TEST_BACKEND=cuda runs it on a GPU;
PLAIT_TEST_JOBS says how many plans to run at once.
"""
import concurrent.futures
import json
import os
import sys

from lib_trainer import DENSE, ORACLES, SMALL, SPARSE, Report, Safetensors, difference, in_memory, last_json, plans_of, run, scratch

TABLE = "--table" in sys.argv
MODELS = [a for a in sys.argv[1:] if a != "--table"] or ["mixtral", "mixtral_aux", "mixtral_padded", "mixtral_two_keys", "qwen3_moe", "qwen3_moe_tied", *([] if SMALL else [*DENSE, *SPARSE])]
report = Report()
worst = {}
pool = concurrent.futures.ThreadPoolExecutor(int(os.environ.get("PLAIT_TEST_JOBS", "1")))


for model in MODELS:
    folder = os.path.join(ORACLES, model)
    tokens = os.path.join(folder, "oracle.safetensors")
    oracle = Safetensors(tokens)
    facts = json.load(open(os.path.join(folder, "oracle.json")))
    want_logits = oracle.read("logits")
    vocabulary = oracle.shape("logits")[2]
    mask = list(oracle.read("attention_mask")) if "attention_mask" in oracle.names() else None
    gradients = {in_memory(model, n): oracle.read(n) for n in oracle.names() if n.startswith("grad.")}
    shapes = {in_memory(model, n): oracle.shape(n) for n in oracle.names()}
    def compare(plan, flags):
        here = {}

        def note(kind, value):
            here[kind] = max(here.get(kind, 0.0), value)

        name = f"{model} under {plan}"
        with scratch() as d:
            dump = os.path.join(d, "dump.safetensors")
            out, _ = run("eval", "--model", folder, "--tokens", tokens, "--dump", dump, *flags)
            got = last_json(out)
            note("loss", abs(got["loss"] - facts["loss"]))
            report.check(abs(got["loss"] - facts["loss"]) <= 2e-6, f"{name}: loss {got['loss']} against {facts['loss']}")
            if "aux_loss" in facts:
                report.check(abs(got["aux_loss"] - facts["aux_loss"]) <= 2e-6, f"{name}: aux_loss {got['aux_loss']}")
            ours = Safetensors(dump)
            logits = ours.read("logits")
            error = 0.0
            for i, (a, b) in enumerate(zip(logits, want_logits)):
                if mask and not mask[i // vocabulary]:
                    continue
                error = max(error, abs(a - b)) if a == a else float("inf")
            note("logits", error)
            report.check(len(logits) == len(want_logits) and error <= 5e-6, f"{name}: logits differ by {error}")
            report.check(sorted(n for n in ours.names() if n != "logits") == sorted(gradients), f"{name}: gradients missing or too many")
            for g, want in gradients.items():
                if g not in ours.names():
                    continue
                d_norm, w_norm = difference(ours.read(g), want)
                note("gradient", d_norm / w_norm if w_norm else d_norm)
                ok = ours.shape(g) == shapes[g] and d_norm <= 1e-5 * w_norm + 1e-8 * len(want) ** 0.5
                report.check(ok, f"{name}: {g} differs by {d_norm} of {w_norm}")

            log, export = os.path.join(d, "log.jsonl"), os.path.join(d, "export")
            train = facts["train"]
            run("train", "--model", folder, "--tokens", tokens, "--steps", train["steps"], "--lr", train["lr"], "--weight-decay",
                train["weight_decay"], "--clip", train["clip_grad_norm"], "--log", log, "--export", export, *flags)
            rows = [json.loads(line) for line in open(log)]
            report.check([r["step"] for r in rows] == list(range(1, train["steps"] + 1)), f"{name}: steps of the log")
            for r, loss, norm in zip(rows, train["losses"], train["grad_norms"]):
                note("training loss", abs(r["loss"] - loss))
                note("training norm", abs(r["grad_norm"] - norm))
                report.check(abs(r["loss"] - loss) <= 1e-5, f"{name}: step {r['step']} loss {r['loss']} against {loss}")
                report.check(abs(r["grad_norm"] - norm) <= 2e-5, f"{name}: step {r['step']} norm {r['grad_norm']} against {norm}")
            exported = Safetensors(os.path.join(export, "model.safetensors"))
            for after in oracle.names():
                if after.startswith("after.") and after[6:] in exported.names():
                    d_norm, w_norm = difference(exported.read(after[6:]), oracle.read(after))
                    note("after ten steps", d_norm / w_norm)
                    report.check(d_norm <= 1e-4 * w_norm, f"{name}: {after} differs by {d_norm} of {w_norm}")
            greedy = facts["greedy"]
            ids = ",".join(map(str, greedy["prompt"]))
            count = len(greedy["ids"]) - len(greedy["prompt"])
            for cache in ([], ["--no-cache"]):
                out, _ = run("generate", "--model", export, "--prompt-ids", ids, "--max-new-tokens", count, *flags, *cache)
                report.check(last_json(out)["ids"] == greedy["ids"], f"{name}: greedy ids {' '.join(cache)} {last_json(out)['ids']}")
        if TABLE:
            print(f"| {model} | {plan} |", " | ".join(f"{here[k]:.1e}" for k in ("logits", "loss", "gradient", "training loss", "training norm")), "|")
        return here

    for done in [pool.submit(compare, *plan) for plan in plans_of(model)]:
        for kind, value in done.result().items():
            worst[kind] = max(worst.get(kind, 0.0), value)
    print(f"{model}: {len(plans_of(model))} plans compared", flush=True)

print("worst:", ", ".join(f"{k} {v:.2e}" for k, v in worst.items()))
report.close()
