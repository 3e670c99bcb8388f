"""Nothing that was trained is lost: exports and checkpoints that fail at the end go elsewhere, a run that diverges keeps what was before."""
import json
import os
import subprocess

from lib_trainer import ORACLES, TRAINER, Report, Safetensors, run, scratch, write_safetensors

report = Report()
MIXTRAL = os.path.join(ORACLES, "mixtral")
TOKENS = os.path.join(MIXTRAL, "oracle.safetensors")
TRAIN = ["train", "--model", MIXTRAL, "--tokens", TOKENS]
MESHES = ([], ["--mesh", "fsdp=2,tp=2", "--sp", "--ep"], ["--processes", "2"])


def fails(d, what, code, words, *args):
    """Runs in folder `d`, which is also that of temporary files; returns the last line on stderr."""
    p = subprocess.run([TRAINER, *map(str, args)], cwd=d, env={**os.environ, "TMPDIR": d}, capture_output=True, text=True, timeout=300)
    line = p.stderr.strip().splitlines()[-1] if p.stderr.strip() else ""
    report.check(p.returncode == code and all(w in line for w in words), f"{what}: exit {p.returncode} (wanted {code}), {p.stderr[-600:]!r} (wanted {words})")
    return line


def same_tensors(a, b):
    a, b = (Safetensors(os.path.join(f, "model.safetensors")) for f in (a, b))
    return sorted(a.names()) == sorted(b.names()) and all(a.read(n) == b.read(n) for n in a.names())


def exports():
    for flags in MESHES:
        with scratch() as d:
            good, bad = os.path.join(d, "good"), os.path.join(d, "bad")
            run(*TRAIN, "--steps", 3, *flags, "--export", good)
            os.makedirs(os.path.join(bad, "model.safetensors", "x"))  # cannot be replaced by a file
            line = fails(d, f"an export that fails, {flags}", 1, ["--export", "model.safetensors", "instead"], *TRAIN, "--steps", 3, *flags, "--export", bad)
            place = os.path.join(d, "bad-instead")
            report.check("bad-instead" in line and same_tensors(place, good), f"{flags}: the model is not beside the export that failed: {line}")
            line = fails(d, f"the same again, {flags}", 1, ["bad-instead-2"], *TRAIN, "--steps", 3, *flags, "--export", bad)
            # with a checkpoint, there is no need of another folder
            line = fails(d, f"an export that fails beside a checkpoint, {flags}", 1, ["checkpoint merge", "step-00000003"], *TRAIN, "--steps", 3, *flags, "--export", bad, "--save", "save")
            run("checkpoint", "merge", os.path.join(d, "save"), os.path.join(d, "merged"))
            report.check(same_tensors(os.path.join(d, "merged"), good), f"{flags}: the checkpoint is not the model")
            # in the middle of several files
            parts = os.path.join(d, "parts")
            run(*TRAIN, "--steps", 0, "--export", parts, "--export-shard-size", 5e-5)
            second = sorted(n for n in os.listdir(parts) if n.startswith("model-"))[1]
            os.remove(os.path.join(parts, second))
            os.makedirs(os.path.join(parts, second, "x"))
            fails(d, f"the second file, {flags}", 1, [second, "parts-instead"], *TRAIN, "--steps", 3, *flags, "--export", parts, "--export-shard-size", 5e-5)
            report.check(not os.path.exists(os.path.join(parts, "model.safetensors.index.json")), f"{flags}: old and new files have an index together")
            run("train", "--model", parts + "-instead", "--tokens", TOKENS, "--steps", 0, "--export", os.path.join(d, "whole"))
            report.check(same_tensors(os.path.join(d, "whole"), good), f"{flags}: the rescued parts are not the model")
            if flags == MESHES[0] and os.geteuid() == 0:
                disk = os.path.join(d, "disk")
                os.mkdir(disk)
                if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True).returncode == 0:
                    try:
                        fails(d, "too little room, before a step is done", 2, ["--export", "bytes", "free"], *TRAIN, "--steps", 3, "--export", os.path.join(disk, "x"))
                        line = fails(d, "the last checkpoint", 1, ["could not be saved", "moe_trainer-save/step-00000003"], *TRAIN, "--steps", 3, "--save", os.path.join(disk, "s"))
                        run("checkpoint", "merge", os.path.join(d, "moe_trainer-save"), os.path.join(d, "again"))
                        report.check(same_tensors(os.path.join(d, "again"), good), "the rescued checkpoint is not the model")
                    finally:
                        subprocess.run(["umount", disk], check=True)
    print("failed exports compared", flush=True)


def divergence():
    for flags in MESHES:
        for saving in ([], ["--save-every", 1, "--keep", 1], ["--save-every", 1, "--save-wait"]):
            with scratch() as d:
                common = [*TRAIN, *flags]
                fails(d, f"a rate too large, {flags} {saving}", 1, ["step 2", "row 0", "--lr", "save/step-00000001"], *common, "--steps", 3, "--lr", 1e30, "--save", "save", *saving)
                run(*common, "--steps", 1, "--lr", 1e30, "--save", os.path.join(d, "straight"))
                save = os.path.join(d, "save")
                report.check(sorted(os.listdir(save)) == [".lock", "step-00000001"], f"{flags} {saving}: {os.listdir(save)}")
                run("checkpoint", "verify", save)
                run("checkpoint", "diff", save, os.path.join(d, "straight"))
                fails(d, f"the same rate again, {flags} {saving}", 1, ["step 2", "save/step-00000001"], *common, "--steps", 3, "--lr", 1e30, "--resume", "save", "--save", "save")
    with scratch() as d:
        fails(d, "no --save", 1, ["step 2", "there is no --save"], *TRAIN, "--steps", 3, "--lr", 1e30)
        # weights that are not finite: saved no more, and while they were, nothing before them was removed
        save = os.path.join(d, "save")
        run(*TRAIN, "--steps", 2, "--save", save)
        fails(d, "an overflow", 1, ["step 4", "not finite"], *TRAIN, "--steps", 6, "--lr", 1e39, "--resume", save, "--save", save, "--save-every", 1, "--keep", 1)
        report.check("step-00000002" in os.listdir(save), f"the last good checkpoint was removed: {os.listdir(save)}")
        run(*TRAIN, "--steps", 3, "--resume", os.path.join(save, "step-00000002"))
        fails(d, "an overflow with one save", 1, ["step 2", "not finite"], *TRAIN, "--steps", 3, "--lr", 1e39, "--save", "other")
        report.check(os.listdir(os.path.join(d, "other")) == [".lock"], "weights that are not finite were saved")
    print("diverging runs compared", flush=True)


def rows_without_labels():
    """A step without a label has no loss: said before training, not in its middle."""
    with scratch() as d:
        tokens = os.path.join(d, "tokens.safetensors")
        ids = list(range(96))[:8] * 6
        labels = [v if i // 8 != 4 else -100 for i, v in enumerate(ids)]
        write_safetensors(tokens, {"input_ids": ("I64", [6, 8], ids), "labels": ("I64", [6, 8], labels)})
        train = ["train", "--model", MIXTRAL, "--tokens", tokens, "--save", "save"]
        line = fails(d, "a row without labels", 2, ["row 4", "--batch"], *train, "--batch", 1, "--steps", 100)
        report.check(not os.path.exists(os.path.join(d, "save")), "a folder was made")
        run("train", "--model", MIXTRAL, "--tokens", tokens, "--batch", 1, "--steps", 4)
        run("train", "--model", MIXTRAL, "--tokens", tokens, "--batch", 2, "--steps", 100, "--log", os.path.join(d, "log"))
        report.check(len([json.loads(x) for x in open(os.path.join(d, "log"))]) == 100, line)


def notes():
    """What may be meant, but may also be a mistake that costs a run, is said and not refused."""
    with scratch() as d:
        save, text, other = (os.path.join(d, n) for n in ("save", "text", "other"))
        open(text, "w").write("once upon a time " * 100)
        open(other, "w").write("once upon a day " * 100)
        train = ["train", "--steps", 2, "--batch", 2]
        run(*train, "--tokens", text, "--save", save)
        for tokens, flags, said in ((text, [], False), (other, [], True), (text, ["--seq", 32], True)):
            for processes in ([], ["--processes", "2", "--mesh", "fsdp=2"]):
                _, err = run("train", "--steps", 3, "--batch", 2, "--tokens", tokens, "--resume", save, *flags, *processes)
                report.check((err.count("other tokens") == 1 and "row 4" in err) == said and ("other tokens" in err) == said, f"resumed with {tokens} {flags} {processes}: {err}")
        _, err = run("train", "--steps", 1, "--batch", 1, "--seq", 1100, "--tokens", text)
        report.check("max_position_embeddings (1024)" in err, f"rows longer than the model's positions: {err}")
        out, _ = run("train", "--steps", 1, "--tokens", text)
        report.check("not kept" in out, f"neither --save nor --export: {out}")
        with open(os.path.join(d, "err"), "w+") as err:  # a log on a full disk is said once, and ends nothing
            p = subprocess.run([TRAINER, "train", "--tokens", text, "--steps", "3", "--log", "/dev/full", "--save", os.path.join(d, "full")], stderr=err, stdout=subprocess.DEVNULL)
            err.seek(0)
            lines = err.read().strip().splitlines()
        report.check(p.returncode == 1 and len(lines) == 2 and "from step 1 on" in lines[0] and "--log" in lines[1], f"a log on a full disk: {p.returncode} {lines}")
        report.check("step-00000003" in os.listdir(os.path.join(d, "full")), "a log on a full disk: nothing was saved")


exports()
divergence()
rows_without_labels()
notes()
report.close()
