"""Nothing that was trained is lost: exports and checkpoints that fail at the end go elsewhere, a run that diverges keeps what was before."""
import fcntl
import json
import os
import resource
import subprocess

from lib_trainer import ORACLES, TRAINER, Report, Safetensors, run, scratch, write_safetensors

report = Report()
MIXTRAL = os.path.join(ORACLES, "mixtral")
TOKENS = os.path.join(MIXTRAL, "oracle.safetensors")
TRAIN = ["train", "--model", MIXTRAL, "--tokens", TOKENS]
MESHES = ([], ["--mesh", "fsdp=2,tp=2", "--sp", "--ep"], ["--processes", "2"])


def fails(d, what, code, words, *args, before=None):
    """Runs in folder `d`, which is also that of temporary files; returns the last line on stderr."""
    p = subprocess.run([TRAINER, *map(str, args)], cwd=d, env={**os.environ, "TMPDIR": d}, capture_output=True, text=True, timeout=300, preexec_fn=before)
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


def file_limits():
    """A limit of the size of files (ulimit -f) is an error like a full disk, not the end of the program."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
    with scratch() as d:
        fails(d, "a checkpoint above the limit", 1, ["1 of 1 checkpoints could not be saved"], *TRAIN, "--steps", 3, "--save", "save", "--log", "log", before=limit)
        report.check(os.listdir(os.path.join(d, "save")) == [".lock"], "something is left of a checkpoint that was not saved")
        report.check(len(open(os.path.join(d, "log")).read().splitlines()) == 3, "the log is not whole")
        fails(d, "an export above the limit", 1, ["--export", "File too large"], *TRAIN, "--steps", 3, "--export", "model", before=limit)
        # in files below the limit there is room
        p = subprocess.run([TRAINER, *TRAIN, "--steps", "3", "--export", "parts", "--export-shard-size", "3e-5"], cwd=d, capture_output=True, text=True, preexec_fn=limit)
        report.check(p.returncode == 0, f"an export in files below the limit: {p.stderr[-300:]!r}")


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
        for batch, said in ((26, False), (27, True)):  # the text has 26 rows
            _, err = run("train", "--steps", 1, "--batch", batch, "--tokens", text)
            report.check((f"26 rows, so a step of --batch {batch} takes rows more than once" in err) == said, f"--batch {batch} of 26 rows: {err}")
        out, _ = run("train", "--steps", 1, "--tokens", text)
        report.check("not kept" in out, f"neither --save nor --export: {out}")
        with open(os.path.join(d, "err"), "w+") as err:  # a log on a full disk is said once, and ends nothing
            p = subprocess.run([TRAINER, "train", "--tokens", text, "--steps", "3", "--log", "/dev/full", "--save", os.path.join(d, "full")], stderr=err, stdout=subprocess.DEVNULL)
            err.seek(0)
            lines = err.read().strip().splitlines()
        report.check(p.returncode == 1 and len(lines) == 2 and "from step 1 on" in lines[0] and "--log" in lines[1], f"a log on a full disk: {p.returncode} {lines}")
        report.check("step-00000003" in os.listdir(os.path.join(d, "full")), "a log on a full disk: nothing was saved")


def rows_of(path):
    return [[row[k] for k in ("step", "loss", "grad_norm", "tokens_seen")] for row in map(json.loads, open(path))]


def logs():
    """Every step has one row in the log, however often the run was ended and continued, and from where; what is replaced is kept."""
    for flags in MESHES:
        with scratch() as d:
            save, log, old = (os.path.join(d, n) for n in ("save", "log", "log.replaced"))
            step = lambda n: os.path.join(save, f"step-{n:08d}")
            train = [*TRAIN, *flags, "--steps", 6, "--log", log]
            _, err = run(*train, "--save", save, "--save-every", 2)
            first = open(log).read()
            want = rows_of(log)
            report.check([row[0] for row in want] == [1, 2, 3, 4, 5, 6] and not os.path.exists(old) and "note" not in err, f"{flags}: {want} {err}")
            _, err = run(*train, "--resume", step(4))
            report.check(rows_of(log) == want and rows_of(old) == want[4:] and err.count("2 rows of steps after 4 were moved to") == 1, f"{flags}: from an earlier step: {err}")
            run(*train, "--resume", step(4))
            report.check(rows_of(log) == want and rows_of(old) == want[4:] * 2, f"{flags}: once more: {open(old).read()}")
            with open(log, "a") as f:  # as a crash leaves it
                f.write('{"step":7,"lo')
            _, err = run(*train[:-4], "--steps", 7, "--log", log, "--resume", step(6))
            report.check(rows_of(log)[:6] == want and rows_of(log)[6][0] == 7 and open(old).read().endswith('{"step":7,"lo\n'), f"{flags}: half a row: {open(log).read()}")
            os.remove(old)
            with open(log, "w") as f:  # as an editor leaves it
                f.write("".join(first.splitlines(keepends=True)[:4])[:-1])
            run(*train, "--resume", step(4))
            report.check(rows_of(log) == want and not os.path.exists(old), f"{flags}: no line end: {open(log).read()}")
            run(*train, "--resume", step(6))
            report.check(rows_of(log) == want and not os.path.exists(old), f"{flags}: nothing to do: {open(log).read()}")
            run(*TRAIN, *flags, "--steps", 1, "--log", log)
            report.check(rows_of(log) == want[:1] and rows_of(old) == want, f"{flags}: a new run with an old log")
            # a run that does not come to its first step leaves the log as it is
            with open(log, "w") as f:
                f.write(first)
            os.remove(old)
            shard = os.path.join(step(4), "shard-00001-model-00001-of-00001.safetensors")
            data = bytearray(open(shard, "rb").read())
            data[-1] ^= 1
            open(shard, "wb").write(data)
            fails(d, f"a damaged checkpoint, {flags}", 2, ["shard-00001"], *train, "--resume", step(4))
            with open(log, "a") as other:
                fcntl.flock(other, fcntl.LOCK_EX)
                fails(d, f"a log in use, {flags}", 2, ["--log", "another process"], *train)
            report.check(open(log).read() == first and not os.path.exists(old), f"{flags}: a refused run changed the log")
    print("logs of continued runs compared", flush=True)


exports()
file_limits()
divergence()
logs()
rows_without_labels()
notes()
report.close()
