"""Ranks as processes: the same bits as ranks as threads, every launcher's conventions, clear refusals, and no hang when one is killed."""
import filecmp
import importlib.util
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import time

from lib_trainer import ORACLES, SMALL, TRAINER, Report, last_json, run, scratch

report = Report()
MIXTRAL = os.path.join(ORACLES, "mixtral_aux")
TOKENS = os.path.join(MIXTRAL, "oracle.safetensors")
EVALUATE = ["eval", "--backend", "cpu", "--model", MIXTRAL, "--tokens", TOKENS]
LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_", "TORCHELASTIC_", "OMPI_", "PMI", "SLURM_", "PLAIT_RANK")
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def begin(args, env=None):
    return subprocess.Popen([TRAINER, *map(str, args)], env={**CLEAN, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")


def end(process, seconds=60):
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        return None, out, err
    return process.returncode, out, err


def together(args, envs, extra=None, seconds=60):
    """One process for each environment; returns their (code, stdout, stderr)."""
    ps = [begin([*args, *(extra[i] if extra else [])], env) for i, env in enumerate(envs)]
    return [end(p, seconds) for p in ps]


def last_line(err):
    return err.strip().splitlines()[-1] if err.strip() else ""


def children_of(pid):
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            fields = open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                rank = [v for v in open(f"/proc/{entry}/environ").read().split("\0") if v.startswith("PLAIT_RANK=")]
                if rank:
                    found.append((int(rank[0].split("=")[1]), int(entry)))
        except (OSError, IndexError):
            continue
    return [p for _, p in sorted(found)]


def same_folder(a, b):
    names = [n for n in sorted(os.listdir(a)) if n != ".lock"]
    if names != [n for n in sorted(os.listdir(b)) if n != ".lock"]:
        return False
    return all(same_folder(os.path.join(a, n), os.path.join(b, n)) if os.path.isdir(os.path.join(a, n)) else
               filecmp.cmp(os.path.join(a, n), os.path.join(b, n), shallow=False) for n in names)


def rows_of(path, keys=("step", "loss", "grad_norm", "aux_loss", "tokens_seen", "expert_load_max_over_mean")):
    return [[json.loads(line)[k] for k in keys] for line in open(path)]


def bitwise_as_threads():
    plans = [(2, ["--mesh", "tp=2"], "f32"), (2, ["--mesh", "fsdp=2"], "bf16"), (4, ["--mesh", "fsdp=2,tp=2", "--sp", "--ep"], "f32"),
             (4, ["--mesh", "fsdp=4,ep=2", "--ep"], "bf16"), (3, ["--mesh", "fsdp=3"], "f32")]
    for count, flags, dtype in plans[:3] if SMALL else plans:
        name = f"{' '.join(flags)} {dtype}"
        with scratch() as d:
            train = ["train", "--model", MIXTRAL, "--tokens", TOKENS, "--dtype", dtype, "--steps", 4, "--save-every", 2, *flags]
            for kind, how in (("threads", []), ("processes", ["--processes", count])):
                run(*train, *how, "--log", os.path.join(d, kind), "--save", os.path.join(d, "s" + kind), "--export", os.path.join(d, "e" + kind))
                run(*EVALUATE, "--dtype", dtype, *flags, *how, "--dump", os.path.join(d, "d" + kind))
            report.check(rows_of(os.path.join(d, "threads")) == rows_of(os.path.join(d, "processes")) and len(rows_of(os.path.join(d, "threads"))) == 4,
                         f"{name}: losses of processes differ from threads'")
            for what in ("s", "e"):
                report.check(same_folder(os.path.join(d, what + "threads"), os.path.join(d, what + "processes")), f"{name}: files of processes differ ({what})")
            report.check(filecmp.cmp(os.path.join(d, "dthreads"), os.path.join(d, "dprocesses"), shallow=False), f"{name}: logits or gradients differ")
            # A checkpoint of processes continues as threads, and the other way round.
            more = ["train", "--tokens", TOKENS, "--dtype", dtype, "--steps", 6, *flags]
            run(*more, "--resume", os.path.join(d, "sprocesses"), "--log", os.path.join(d, "l1"))
            run(*more, "--resume", os.path.join(d, "sthreads"), "--processes", count, "--log", os.path.join(d, "l2"))
            report.check(rows_of(os.path.join(d, "l1")) == rows_of(os.path.join(d, "l2")) and len(rows_of(os.path.join(d, "l1"))) == 2, f"{name}: resumed runs differ")
            say = ["generate", "--model", MIXTRAL, "--prompt-ids", "1,2,3", "--max-new-tokens", 8, "--dtype", dtype, *flags]
            report.check(last_json(run(*say)[0]) == last_json(run(*say, "--processes", count)[0]), f"{name}: generated ids differ")
    # Without a mesh, one is made for the processes; explain and tools do their work once.
    out, _ = run("train", "--tokens", TOKENS, "--model", MIXTRAL, "--steps", 1, "--processes", 2)
    report.check("fsdp 2" in out and "2 ranks as processes" in out and out.count("step 1/1") == 1, f"a mesh for two processes: {out}")
    env = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    code, out, err = end(begin(["explain", "--model", MIXTRAL, "--mesh", "tp=2"], env))
    report.check(code == 0 and out == "" and err == "", f"explain on rank 1: {code} {out!r} {err!r}")
    code, out, err = end(begin(["explain", "--model", MIXTRAL, "--mesh", "tp=2"], {**env, "RANK": "0"}))
    report.check(code == 0 and "collectives of a step" in out, f"explain on rank 0: {code} {err!r}")


def launchers():
    want = last_json(run(*EVALUATE, "--mesh", "tp=2")[0])

    def works(what, envs, extra=None):
        results = together([*EVALUATE, "--mesh", "tp=2", "--deadline", 20], envs, extra)
        said = [r[1].strip() for r in results]
        ok = all(r[0] == 0 for r in results) and said[0] and json.loads(said[0].splitlines()[-1]) == want and said[1] == ""
        report.check(ok, f"{what}: {results}")

    with scratch() as d:
        port = free_port()
        works("flags, tcp", [{}, {}], [["--rank", r, "--world-size", 2, "--rendezvous", f"tcp:127.0.0.1:{port}"] for r in (0, 1)])
        meeting = os.path.join(d, "meet")
        works("flags, file", [{}, {}], [["--rank", r, "--world-size", 2, "--rendezvous", f"file:{meeting}"] for r in (0, 1)])
        report.check(os.listdir(d) == [], f"the rendezvous file stays behind: {os.listdir(d)}")
        open(meeting, "w").write(f"plait processes 1\nelsewhere/0\n{port}\n123\n")  # of a run that died
        works("flags, a stale file", [{}, {}], [["--rank", r, "--world-size", 2, "--rendezvous", f"file:{meeting}"] for r in (0, 1)])
        with socket.socket() as taken:  # torchrun's own store listens at MASTER_PORT
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            torch = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1]), "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x",
                     "TORCHELASTIC_USE_AGENT_STORE": "True", "LOCAL_WORLD_SIZE": "2"}
            works("torchrun's variables", [{**torch, "RANK": r, "LOCAL_RANK": r} for r in "01"])
        plain = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
        works("RANK and WORLD_SIZE", [{**plain, "RANK": r} for r in "01"])
        ompi = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": str(os.getpid()), "TMPDIR": d}
        works("Open MPI's variables", [{**ompi, "OMPI_COMM_WORLD_RANK": r, "OMPI_COMM_WORLD_LOCAL_RANK": r} for r in "01"])
        pmi = {"PMI_SIZE": "2", "MPI_LOCALNRANKS": "2", "TMPDIR": d}
        works("MPICH's variables", [{**pmi, "PMI_RANK": r, "MPI_LOCALRANKID": r} for r in "01"])
        slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_NODELIST": "localhost", "SLURM_JOB_NAME": "run"}
        works("Slurm's variables", [{**slurm, "SLURM_PROCID": r, "SLURM_LOCALID": r} for r in "01"])
    # An allocation is no launch: a batch script or an interactive shell runs one process.
    for step in ({}, {"SLURM_STEP_ID": "4294967290"}):
        code, out, err = end(begin([*EVALUATE, "--mesh", "tp=2"], {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", **step}))
        report.check(code == 0 and json.loads(out) == want, f"in a Slurm allocation: {code} {err}")
    if importlib.util.find_spec("torch"):
        p = subprocess.run(["python3", "-m", "torch.distributed.run", "--no-python", "--standalone", "--nproc-per-node", "2", "--", TRAINER, *EVALUATE, "--mesh", "tp=2"],
                           env=CLEAN, capture_output=True, text=True, timeout=120)
        report.check(p.returncode == 0 and json.loads(p.stdout.strip().splitlines()[-1]) == want, f"torchrun: {p.returncode} {p.stderr[-500:]}")
    else:
        print("torchrun: no torch here, only its variables were tried")
    if shutil.which("mpirun"):
        root = ["--allow-run-as-root"] if os.getuid() == 0 and "Open MPI" in subprocess.run(["mpirun", "--version"], capture_output=True, text=True).stdout else []
        p = subprocess.run(["mpirun", *root, "--oversubscribe", "-n", "2", TRAINER, *EVALUATE, "--mesh", "tp=2"], env=CLEAN, capture_output=True, text=True, timeout=120)
        report.check(p.returncode == 0 and json.loads(p.stdout.strip().splitlines()[-1]) == want, f"mpirun: {p.returncode} {p.stderr[-500:]}")
    else:
        print("mpirun: not here, only its variables were tried")


def refuse(what, results, words, codes=(2,)):
    for code, _, err in results:
        line = last_line(err)
        ok = code in codes and line.startswith("moe_trainer: ") and all(w in line for w in words) and len(line) < 600
        report.check(ok, f"{what}: exit {code}, last line {line!r} (wanted {words})")


def refusals():
    def pair(extra, common=(), deadline=20):
        port = free_port()
        return together([*EVALUATE, "--deadline", deadline, *common], [{}, {}],
                        [["--rendezvous", f"tcp:127.0.0.1:{port}", *e] for e in extra])

    two = [["--rank", 0, "--world-size", 2], ["--rank", 1, "--world-size", 2]]
    # what processes were started with
    refuse("world sizes", pair([two[0] + ["--mesh", "tp=2"], ["--rank", 1, "--world-size", 3, "--mesh", "fsdp=3"]]), ["world sizes", "2", "3"])
    results = together([*EVALUATE, "--deadline", 10, "--mesh", "fsdp=3"], [{}, {}, {}],
                       [["--rank", r, "--world-size", 3, "--rendezvous", f"tcp:127.0.0.1:{port}"] for port in [free_port()] for r in (0, 1, 1)])
    refuse("a rank twice", results, ["two processes claim rank 1"])
    refuse("a flag's value", pair([two[0] + ["--seed", 1], two[1] + ["--seed", 2]], ["--mesh", "tp=2"]), ["--seed is 1 on rank 0 but 2 on rank 1"])
    refuse("a flag missing", pair([two[0] + ["--ep"], two[1]], ["--mesh", "tp=2"]), ["--ep is given on rank 0", "not on rank 1"])
    refuse("another plan", pair([two[0] + ["--mesh", "tp=2"], two[1] + ["--mesh", "fsdp=2"]]), ["--mesh", "tp=2", "fsdp=2", "rank 1"])
    with scratch() as d:
        other, tokens = os.path.join(d, "model"), os.path.join(d, "tokens")
        shutil.copytree(MIXTRAL, other)
        shutil.copy(TOKENS, tokens)
        results = []
        for change in (False, True):
            if change:
                config = json.load(open(os.path.join(other, "config.json")))
                config["rope_parameters"]["rope_theta"] = 5000.0
                os.chmod(os.path.join(other, "config.json"), 0o644)
                json.dump(config, open(os.path.join(other, "config.json"), "w"))
            # The same path, but another machine's file: a link decides which.
            ps, port = [], free_port()
            for r in (0, 1):
                root = os.path.join(d, f"root{r}{change}")
                os.mkdir(root)
                os.symlink(MIXTRAL if r == 0 or not change else other, os.path.join(root, "model"))
                ps.append(subprocess.Popen([TRAINER, "eval", "--backend", "cpu", "--model", "model", "--tokens", TOKENS, "--mesh", "tp=2", "--rank", str(r), "--world-size", "2",
                                            "--rendezvous", f"tcp:127.0.0.1:{port}", "--deadline", "20"], cwd=root, env=CLEAN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
            results.append([end(p) for p in ps])
        report.check(all(r[0] == 0 for r in results[0]), f"the same config in two places: {results[0]}")
        refuse("another config", results[1], ["config.json", "rank 0", "rank 1"])

    # who comes
    code, _, err = end(begin([*EVALUATE, "--mesh", "fsdp=3", "--rank", 0, "--world-size", 3, "--rendezvous", f"tcp:127.0.0.1:{free_port()}", "--deadline", 1]))
    refuse("nobody comes", [(code, "", err)], ["rank 1, 2 did not come", "--deadline"])
    code, _, err = end(begin([*EVALUATE, "--mesh", "tp=2", "--rank", 1, "--world-size", 2, "--rendezvous", f"tcp:127.0.0.1:{free_port()}", "--deadline", 1]))
    refuse("no rank 0", [(code, "", err)], ["no answer from rank 0", "rank 1"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = end(begin([*EVALUATE, "--mesh", "tp=2", "--rank", 0, "--world-size", 2, "--rendezvous", f"tcp:127.0.0.1:{taken.getsockname()[1]}", "--deadline", 5]))
        refuse("port in use", [(code, "", err)], ["in use", "another"])
    code, _, err = end(begin([*EVALUATE, "--mesh", "tp=2", "--rank", 1, "--world-size", 2, "--rendezvous", "tcp:no.such.host.invalid:4000", "--deadline", 1]))
    refuse("unknown host", [(code, "", err)], ["no.such.host.invalid", "not known"])

    # a process of another version, and visitors that have nothing to do with it
    port = free_port()
    rank0 = begin([*EVALUATE, "--mesh", "tp=2", "--rank", 0, "--world-size", 2, "--rendezvous", f"tcp:127.0.0.1:{port}", "--deadline", 20])

    def call(text, wait=True):
        for _ in range(100):
            try:
                s = socket.create_connection(("127.0.0.1", port), timeout=5)
                break
            except OSError:
                time.sleep(0.05)
        s.sendall(text)
        s.settimeout(5)
        try:
            answer = b""  # its length first, which may come in a piece of its own
            while wait and (len(answer) < 4 or len(answer) < 4 + struct.unpack("<I", answer[:4])[0]):
                piece = s.recv(1000)
                if not piece:
                    break
                answer += piece
            return answer
        except OSError:
            return b""

    call(b"GET / HTTP/1.1\r\n\r\n", wait=False)
    call(struct.pack("<I", 3) + b"abc", wait=False)
    hello = "\n".join(["plait processes 1", "9.9.9", "1", "2", "", "", "there/0", "1", "through host memory", ""]).encode()
    answer = call(struct.pack("<I", len(hello)) + hello)
    refuse("another version", [end(rank0)], ["versions differ", "9.9.9", "rank 1"])
    report.check(b"versions differ" in answer, f"the other one hears nothing: {answer}")

    # flags and variables
    bad = [(["--rank", 0], {}, ["--world-size"]), (["--rank", 2, "--world-size", 2], {}, ["--rank=2"]),
           (["--rank", 0, "--world-size", 2], {}, ["--rendezvous"]), (["--rank", 0, "--world-size", 2, "--rendezvous", "here"], {}, ["'here'", "tcp:HOST:PORT"]),
           (["--rendezvous", "file:/tmp/x"], {}, ["one process"]), (["--processes", 3, "--mesh", "tp=2"], {}, ["2 ranks", "3 processes"]),
           ([], {"RANK": "0"}, ["WORLD_SIZE"]), ([], {"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "1"}, ["MASTER_ADDR"]),
           ([], {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a"}, ["MASTER_PORT"]), ([], {"RANK": "zero", "WORLD_SIZE": "2"}, ["RANK=zero"]),
           ([], {"RANK": "3", "WORLD_SIZE": "2"}, ["RANK=3"]),
           ([], {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, ["Open MPI", "rank 1"]),
           ([], {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, ["several machines", "MASTER_ADDR"]),
           (["--processes", 2], {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, ["--processes", "leave it out"]),
           (["--mesh", "tp=4"], {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, ["4 ranks", "2 processes"])]
    for flags, env, words in bad:
        refuse(f"{flags} {env}", [end(begin([*EVALUATE, *flags], env))], words)
    # bad input on every rank, and on one that alone cannot read it
    code, _, err = end(begin(["eval", "--backend", "cpu", "--model", "/nowhere", "--tokens", TOKENS, "--processes", 2]))
    refuse("no model", [(code, "", err)], ["/nowhere"])
    with scratch() as d:
        shutil.copy(TOKENS, os.path.join(d, "tokens.safetensors"))
        port, ps = free_port(), []
        for r, path in ((0, d), (1, "/")):
            ps.append(subprocess.Popen([TRAINER, "eval", "--backend", "cpu", "--model", MIXTRAL, "--tokens", "tokens.safetensors", "--mesh", "tp=2", "--rank", str(r), "--world-size", "2",
                                        "--rendezvous", f"tcp:127.0.0.1:{port}", "--deadline", "20"], cwd=path, env=CLEAN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        refuse("a file missing on rank 1", [end(p) for p in ps], ["tokens", "rank 1"])


def long_run(d, count, *more):
    """A run that would take hours, once it is in its steps: (process, pids by rank)."""
    log = os.path.join(d, "log")
    p = begin(["train", "--backend", "cpu", "--model", MIXTRAL, "--tokens", TOKENS, "--steps", 10 ** 7, "--processes", count, "--threads", 1, "--log", log, *more])
    limit = time.time() + 60
    while time.time() < limit and not (os.path.exists(log) and open(log).read().count("\n") >= 5):
        time.sleep(0.02)
    return p, children_of(p.pid)


def gone(pids):
    return not any(os.path.exists(f"/proc/{p}") and open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[0] != "Z" for p in pids)


def kills():
    slowest = 0.0
    for count, victim, flags in ((2, 1, ["--mesh", "tp=2"]), (2, 0, ["--mesh", "fsdp=2"]), (4, 3, ["--mesh", "fsdp=2,tp=2", "--ep"]), (4, 0, ["--mesh", "tp=4", "--sp"]),
                                 (4, 2, ["--mesh", "fsdp=4"])):
        with scratch() as d:
            p, pids = long_run(d, count, *flags)
            report.check(len(pids) == count, f"{count} processes: {pids}")
            if len(pids) != count:
                p.kill()
                continue
            os.kill(pids[victim], signal.SIGKILL)
            begun = time.time()
            code, _, err = end(p, 40)
            took = time.time() - begun
            slowest = max(slowest, took)
            name = f"rank {victim} of {count} killed"
            report.check(code == 1, f"{name}: exit {code}")
            report.check(took < 5, f"{name}: the others took {took:.1f} s")
            report.check(f"rank {victim} was ended by signal 9" in err, f"{name}: {err}")
            for r in range(count):
                lines = [line for line in err.splitlines() if line.startswith(f"moe_trainer: rank {r}: ")]
                if r == victim:
                    report.check(not lines, f"{name}: it speaks: {lines}")
                else:
                    report.check(len(lines) == 1 and f"rank {victim} is gone" in lines[0] and f"rank {r} was in " in lines[0], f"{name}: rank {r} says {lines} of {err}")
            report.check(gone(pids), f"{name}: processes are left")
    # A process that is stopped, not dead: the deadline names it.
    with scratch() as d:
        p, pids = long_run(d, 2, "--mesh", "tp=2", "--deadline", 2)
        os.kill(pids[1], signal.SIGSTOP)
        begun = time.time()
        code, _, err = end(p, 40)
        report.check(code == 1 and time.time() - begun < 2 + 2 * 12 and "rank 1" in err and gone(pids), f"a stopped rank: {code} after {time.time() - begun:.1f} s: {err}")
        report.check("2 s" in err and ("has waited" in err or "not been heard of" in err), f"a stopped rank: {err}")
    # The starter is killed: nothing is left.
    with scratch() as d:
        p, pids = long_run(d, 2, "--mesh", "tp=2")
        p.kill()
        p.communicate()
        limit = time.time() + 5
        while not gone(pids) and time.time() < limit:
            time.sleep(0.05)
        report.check(gone(pids), "the starter was killed: processes are left")
    # A signal to one process, to the starter, or to all as a scheduler sends it, ends the run in order.
    for whom in ("a rank", "the starter", "all"):
        with scratch() as d:
            save, log = os.path.join(d, "save"), os.path.join(d, "log")
            p, pids = long_run(d, 2, "--mesh", "fsdp=2", "--save", save)
            for pid in {"a rank": pids[1:2], "the starter": [p.pid], "all": [p.pid, *pids]}[whom]:
                os.kill(pid, signal.SIGTERM)
            code, _, err = end(p, 40)
            report.check(code == 3 and last_line(err).startswith("moe_trainer: stopped by a signal") and gone(pids), f"SIGTERM to {whom}: exit {code}: {err}")
            steps = sorted(n for n in os.listdir(save) if n.startswith("step-"))
            report.check(len(steps) == 1, f"SIGTERM: saved {steps}")
            done = int(steps[0][5:]) if steps else 0
            run("train", "--backend", "cpu", "--tokens", TOKENS, "--resume", save, "--steps", done + 1, "--mesh", "fsdp=2", "--log", log + "2")
            report.check([r[0] for r in rows_of(log + "2")] == [done + 1], "SIGTERM: does not continue")
    # None is lost while the processes start.
    for wait in (0.002, 0.005, 0.008, 0.012, 0.016, 0.02, 0.03, 0.05):
        with scratch() as d:
            p = subprocess.Popen([TRAINER, "train", "--backend", "cpu", "--tokens", TOKENS, "--model", MIXTRAL, "--steps", "1000000", "--mesh", "fsdp=2", "--processes", "2",
                                  "--save", os.path.join(d, "save")], env=CLEAN, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
            time.sleep(wait)
            os.killpg(p.pid, signal.SIGINT)
            code, _, err = end(p, 20)
            report.check(code is not None and code != 0, f"SIGINT after {wait} s: exit {code}: {err}")
            if code is None:
                os.killpg(p.pid, signal.SIGKILL)
    print(f"killed: the others ended within {slowest:.2f} s", flush=True)


for part in (bitwise_as_threads, launchers, refusals, kills):
    begun = time.time()
    part()
    print(f"{part.__name__}: {time.time() - begun:.1f} s", flush=True)
report.close()
