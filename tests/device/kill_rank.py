"""Kills one of N processes that train on GPUs, and stops one: the others must end in time, with a message, and leave nothing.

Usage: kill_rank.py N, with MOE_TRAINER set.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time

TRAINER, COUNT, DEADLINE = os.environ["MOE_TRAINER"], int(sys.argv[1]), 10
bad = 0


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and int(open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()[1]) == pid:
                rank = [v for v in open(f"/proc/{entry}/environ").read().split("\0") if v.startswith("PLAIT_RANK=")]
                found.append((int(rank[0][11:]), int(entry)))
        except (OSError, IndexError):
            continue
    return [p for _, p in sorted(found)]


for victim, what in ((1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)):
    with tempfile.TemporaryDirectory() as d:
        log = os.path.join(d, "log")
        p = subprocess.Popen([TRAINER, "train", "--backend", "cuda", "--tokens", "examples/data/verse.txt", "--steps", "10000000", "--processes", str(COUNT), "--mesh",
                              f"tp={COUNT}", "--deadline", str(DEADLINE), "--log", log], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        limit = time.time() + 60
        while time.time() < limit and not (os.path.exists(log) and open(log).read().count("\n") > 20):
            time.sleep(0.05)
        pids = children(p.pid)
        os.kill(pids[victim], what)
        begun = time.time()
        if what == signal.SIGSTOP:  # the one that is stopped is left to the starter, the others must have ended by then
            while any(alive(q) for r, q in enumerate(pids) if r != victim) and time.time() < begun + 60:
                time.sleep(0.05)
        else:
            p.wait(60)
        took = time.time() - begun
        err = p.communicate(timeout=90)[1]
        left = [q for q in pids if alive(q)]
        lines = [line for line in err.splitlines() if line.startswith("moe_trainer: rank") and "was ended by" not in line]
        ok = p.returncode == 1 and took < DEADLINE + 10 and not left and lines and all(f"rank {victim}" in line for line in lines) and any(" was in " in line for line in lines)
        bad += not ok
        print(f"{what.name} of rank {victim}: {'good' if ok else 'BAD'}, the others ended after {took:.2f} s, exit {p.returncode}, left {left}\n  " + "\n  ".join(err.splitlines()[-4:]), flush=True)
sys.exit(1 if bad else 0)
