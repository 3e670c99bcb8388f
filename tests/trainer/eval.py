"""Evaluation without a backward: the bits of the forward with one, in parts of bounded memory, with a perplexity."""
import json
import math
import os
import subprocess

from lib_trainer import BACKEND, ORACLES, PLANS, SMALL, TRAINER, Report, last_json, run, scratch, write_safetensors

report = Report()
SENTENCE = os.path.join(ORACLES, "..", "..", "examples", "data", "sentence.txt")


def same_bits():
    some = [p for p in PLANS if p[0] in ("one", "sp2", "fsdp2 x tp2", "fsdp2 x (sp+ep2)", "fsdp2 x (sp+ep2) dispatch", "fsdp4 ep2")]
    for model in ("mixtral_aux", "mixtral_padded", "qwen3_moe"):
        for dtype in ("f32", "bf16", "bf16-states"):
            for plan, flags in some:
                with scratch() as d:
                    both = ["eval", "--model", os.path.join(ORACLES, model), "--tokens", os.path.join(ORACLES, model, "oracle.safetensors"), "--dtype", dtype, *flags]
                    alone, with_backward = (last_json(run(*both, *more)[0]) for more in ([], ["--dump", os.path.join(d, "dump")]))
                    keys = ("loss", "aux_loss", "perplexity", "tokens")
                    report.check(all(alone[k] == with_backward[k] for k in keys), f"{model} {dtype} under {plan}: {alone} without a backward, {with_backward} with one")
                    report.check("grad_norm" in with_backward and "grad_norm" not in alone, f"{model} under {plan}: {alone} {with_backward}")
    coefficient = json.load(open(os.path.join(ORACLES, "mixtral_aux", "config.json")))["router_aux_loss_coef"]
    got = last_json(run("eval", "--model", os.path.join(ORACLES, "mixtral_aux"), "--tokens", os.path.join(ORACLES, "mixtral_aux", "oracle.safetensors"))[0])
    want = math.exp(got["loss"] - coefficient * got["aux_loss"])
    report.check(abs(got["perplexity"] - want) < 1e-9 * want, f"perplexity {got}, wanted {want}")
    print("evaluations compared with those that have a backward", flush=True)


def peak_of(*args):
    """(result, peak memory in KiB) of a run."""
    with open(os.devnull) as nothing, scratch() as d:
        out = open(os.path.join(d, "out"), "w+")
        pid = subprocess.Popen([TRAINER, *map(str, args), "--backend", BACKEND], stdin=nothing, stdout=out)
        _, status, usage = os.wait4(pid.pid, 0)
        pid.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return (last_json(out.read()) if pid.returncode == 0 else {}), usage.ru_maxrss


def long_files():
    with scratch() as d:
        model, text = os.path.join(d, "model"), os.path.join(d, "text")
        run("train", "--tokens", SENTENCE, "--seq", 64, "--steps", 3, "--export", model)
        sentence = open(SENTENCE).read()
        with open(text, "w") as f:
            for i in range(150 if SMALL else 1500):
                f.write(sentence[i % 60:] + str(i))
        common = ["eval", "--model", model, "--tokens", text, "--seq", 64]
        if not SMALL:
            few, small = peak_of(*common, "--batch", 128)
            all_rows, large = peak_of(*common)
            report.check(all_rows["tokens"] > 10 * few["tokens"] and large < small + 32 * 1024, f"{few['tokens']} tokens took {small} KiB, {all_rows['tokens']} took {large} KiB")
        # the mean over all tokens, however they are cut (the balancing loss is one of each part, as in training)
        seen = [last_json(run(*common, "--batch", 100, *flags)[0]) for flags in
                ([], ["--grad-accumulation", 1], ["--grad-accumulation", 7], ["--mesh", "fsdp=2,tp=2", "--sp", "--ep"], ["--dump", os.path.join(d, "dump")])]
        for other in seen[1:]:
            report.check(abs(math.log(other["perplexity"] / seen[0]["perplexity"])) < 1e-5 and other["tokens"] == seen[0]["tokens"] == 6400, f"{other} instead of {seen[0]}")
        # rows of unequal numbers of labels, one of them without any: each label counts once
        ids = [(7 * i * i + 3 * i) % 96 for i in range(3 * 200 * 16)]
        labels = [v if (i // 16) % 3 == 0 or i % 16 > 12 else -100 for i, v in enumerate(ids)]
        labels[16 * 5:16 * 6] = [-100] * 16
        tokens = os.path.join(d, "tokens.safetensors")
        write_safetensors(tokens, {"input_ids": ("I64", [600, 16], ids), "labels": ("I64", [600, 16], labels)})
        model = os.path.join(ORACLES, "mixtral")
        parts = [last_json(run("eval", "--model", model, "--tokens", tokens, *flags)[0]) for flags in ([], ["--grad-accumulation", 600], ["--dump", os.path.join(d, "dump")])]
        report.check(max(p["loss"] for p in parts) - min(p["loss"] for p in parts) < 1e-5, f"unequal rows: {parts}")
    print("long files evaluated", flush=True)


same_bits()
long_files()
report.close()
