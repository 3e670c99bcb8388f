"""Shared by the trainer's tests: runs the program, reads safetensors. Standard library only."""
import array
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ORACLES = os.path.join(HERE, "..", "oracles")
TRAINER = os.environ.get("MOE_TRAINER", "build/cpu/bin/moe_trainer")
BACKEND = os.environ.get("PLAIT_TEST_BACKEND", "cpu")  # what the trainer is run with; cuda needs a GPU

GATHER, DISPATCH = ["--ep-mode", "gather"], ["--ep-mode", "dispatch"]  # neither: what the trainer chooses
# Name, flags. The list of the project's promise: every composition of FSDP, TP, SP and EP up to eight ranks; and FSDP over more ranks
# than they have experts to share out, or over a number that does not divide the experts: then another dim is stored in pieces.
PLANS = [
    ("one", []),
    ("tp2", ["--mesh", "tp=2"]), ("tp4", ["--mesh", "tp=4"]),
    ("sp2", ["--mesh", "tp=2", "--sp"]), ("sp4", ["--mesh", "tp=4", "--sp"]),
    ("tp+ep2", ["--mesh", "tp=2", "--ep", *GATHER]), ("tp+ep4", ["--mesh", "tp=4", "--ep", *GATHER]),
    ("tp+ep4 dispatch", ["--mesh", "tp=4", "--ep", *DISPATCH]),
    ("sp+ep2", ["--mesh", "tp=2", "--sp", "--ep", *GATHER]), ("sp+ep4", ["--mesh", "tp=4", "--sp", "--ep", *GATHER]),
    ("sp+ep2 dispatch", ["--mesh", "tp=2", "--sp", "--ep", *DISPATCH]),
    ("fsdp2", ["--mesh", "fsdp=2"]), ("fsdp3", ["--mesh", "fsdp=3"]), ("fsdp4", ["--mesh", "fsdp=4"]),
    ("fsdp2 x tp2", ["--mesh", "fsdp=2,tp=2"]),
    ("fsdp2 x (tp+ep2)", ["--mesh", "fsdp=2,tp=2", "--ep", *GATHER]),
    ("fsdp2 x (sp+ep2)", ["--mesh", "fsdp=2,tp=2", "--sp", "--ep", *GATHER]),
    ("fsdp2 x (sp+ep2) dispatch", ["--mesh", "fsdp=2,tp=2", "--sp", "--ep", *DISPATCH]),
    ("fsdp4 ep4", ["--mesh", "fsdp=4,ep=4", "--ep", *GATHER]), ("fsdp4 ep2", ["--mesh", "fsdp=4,ep=2", "--ep"]),
    ("fsdp4 ep4 dispatch", ["--mesh", "fsdp=4,ep=4", "--ep", *DISPATCH]),
    ("fsdp2 tp2 ep4", ["--mesh", "fsdp=2,tp=2,ep=4", "--ep", *GATHER]),
    ("fsdp2 tp2 ep4 sp", ["--mesh", "fsdp=2,tp=2,ep=4", "--ep", "--sp"]),
    ("fsdp4 tp2 ep4 dispatch", ["--mesh", "fsdp=4,tp=2,ep=4", "--ep", *DISPATCH]),
    ("fsdp4 tp2 ep4 sp", ["--mesh", "fsdp=4,tp=2,ep=4", "--ep", "--sp", *GATHER]),
    ("fsdp16", ["--mesh", "fsdp=16"]), ("fsdp5 x sp2", ["--mesh", "fsdp=5,tp=2", "--sp"]),
    ("fsdp12 ep4 dispatch", ["--mesh", "fsdp=12,ep=4", "--ep", *DISPATCH]),
    ("fsdp8 tp2 ep4 sp", ["--mesh", "fsdp=8,tp=2,ep=4", "--ep", "--sp", *GATHER]),
    ("fsdp2 x sp2", ["--mesh", "fsdp=2,tp=2", "--sp"]),
]
# Keys and values whole on each rank: for models with fewer key heads than ranks, among others.
REPEATED = [(name, flags + ["--kv-heads", "replicate"]) for name, flags in (
    ("tp4, repeated heads", ["--mesh", "tp=4"]), ("sp4, repeated heads", ["--mesh", "tp=4", "--sp"]),
    ("fsdp2 x tp4, repeated heads", ["--mesh", "fsdp=2,tp=4"]), ("fsdp2 x sp4, repeated heads", ["--mesh", "fsdp=2,tp=4", "--sp"]),
    ("sp+ep4, repeated heads", ["--mesh", "tp=4", "--sp", "--ep"]), ("tp8, repeated heads", ["--mesh", "tp=8"]),
    ("sp8, repeated heads", ["--mesh", "tp=8", "--sp"]), ("tp+ep8, repeated heads", ["--mesh", "tp=8", "--ep"]))]
if "PLAIT_TEST_RANKS" in os.environ:  # only the plans of so many ranks, for a machine with so many GPUs
    def ranks(flags):
        sizes = dict(axis.split("=") for axis in flags[1].split(",")) if flags else {}
        return int(sizes.get("fsdp", 1)) * int(sizes.get("tp", 1))
    PLANS, REPEATED = ([p for p in plans if ranks(p[1]) == int(os.environ["PLAIT_TEST_RANKS"])] for plans in (PLANS, REPEATED))
if "PLAIT_TEST_PLANS" in os.environ:  # only those, by name, with commas between
    PLANS, REPEATED = ([p for p in plans if p[0] in os.environ["PLAIT_TEST_PLANS"].split(",")] for plans in (PLANS, REPEATED))
FLAGS = os.environ.get("PLAIT_TEST_FLAGS", "").split()  # added to every run of ranks, such as --processes 2
LAUNCHER = os.environ.get("PLAIT_TEST_LAUNCHER", "").split()  # before the program where it has ranks, such as mpirun -n 2
SMALL = os.environ.get("PLAIT_TEST_SCALE") == "small"  # under a sanitizer: each of the four plans, with and without FSDP
if SMALL:
    REPEATED = [p for p in REPEATED if p[0].startswith("sp4")]
    PLANS = [p for p in PLANS if p[0] in ("one", "sp2", "fsdp2 x tp2", "fsdp4 ep2", "fsdp2 x (sp+ep2)", "fsdp2 x (sp+ep2) dispatch", "fsdp5 x sp2")]

# Families beyond the first two: the parts they share are compared under all of the plans above, so these suffice.
DENSE = ("llama", "llama_bias", "qwen3", "qwen3_tied")
SPARSE = ("granitemoe", "granitemoe_tied", "qwen2_moe", "hunyuan_v1_moe", "hunyuan_v1_moe_alpha", "olmoe", "olmoe_clip",
          "deepseek_v2", "deepseek_v2_lora", "deepseek_v2_bias", "deepseek_v3", "deepseek_v3_plain",
          "gpt_oss", "gpt_oss_plain", "llama4_text", "llama4_text_mixed",
          "glm4_moe", "glm4_moe_groups", "minimax_m2", "minimax_m2_partial", "phimoe", "phimoe_bias", "phimoe_long", "ernie4_5_moe", "ernie4_5_moe_bias")
FEWER = ("one", "tp2", "tp4", "sp2", "sp4", "fsdp2 x tp2", "fsdp2 x sp2", "tp+ep2", "sp+ep2", "tp+ep4", "fsdp2 x (sp+ep2)", "fsdp4 ep4",
         "tp+ep4 dispatch", "fsdp2 x (sp+ep2) dispatch", "fsdp4 ep4 dispatch", "fsdp5 x sp2")


def plans_of(model):
    """Dense models have no experts to cut."""
    if model in DENSE:
        return [p for p in PLANS if p[0] in FEWER and "--ep" not in p[1]]
    if model == "mixtral_two_keys":  # two key heads: not to be cut in four
        return [p for p in PLANS if p[0] in FEWER and p[0] not in ("tp4", "sp4", "tp+ep4", "sp+ep4", "tp+ep4 dispatch")] + REPEATED
    return [p for p in PLANS if p[0] in FEWER] if model in SPARSE else PLANS + (REPEATED if model in ("mixtral", "qwen3_moe") else [])


def in_memory(model, name):
    """The library's name of a tensor that transformers holds in memory as `name`."""
    for theirs, ours in RENAMED.get(model, ()):
        name = name.replace(theirs, ours)
    return name


RENAMED = {
    "deepseek_v2": ((".shared_experts.", ".shared_expert."),),
    "deepseek_v3": ((".shared_experts.", ".shared_expert."),),
    "deepseek_v3_plain": ((".shared_experts.", ".shared_expert."),),
    "deepseek_v2_lora": ((".shared_experts.", ".shared_expert."),),
    "deepseek_v2_bias": ((".shared_experts.", ".shared_expert."),),
    **dict.fromkeys(("gpt_oss", "gpt_oss_plain"), ((".mlp.router.", ".mlp.gate."),)),
    **dict.fromkeys(("llama4_text", "llama4_text_mixed"), ((".feed_forward.router.", ".mlp.gate."), (".feed_forward.", ".mlp."))),
    "glm4_moe": ((".shared_experts.", ".shared_expert."),),
    "glm4_moe_groups": ((".shared_experts.", ".shared_expert."),),
    "ernie4_5_moe": ((".shared_experts.", ".shared_expert."),),
    "ernie4_5_moe_bias": ((".shared_experts.", ".shared_expert."),),
    "phimoe": ((".mlp.router.", ".mlp.gate."),),
    "phimoe_bias": ((".mlp.router.", ".mlp.gate."),),
    "phimoe_long": ((".mlp.router.", ".mlp.gate."),),
    **dict.fromkeys(("granitemoe", "granitemoe_tied"), ((".block_sparse_moe.router.", ".mlp.gate."), (".block_sparse_moe.", ".mlp."))),
    **dict.fromkeys(("hunyuan_v1_moe", "hunyuan_v1_moe_alpha"),
                    ((".gate.wg.", ".gate."), (".shared_mlp.", ".shared_expert."), (".query_layernorm.", ".q_norm."), (".key_layernorm.", ".k_norm."))),
}


def run(*args, expect=0):
    """Runs the trainer; returns (stdout, stderr). A wrong exit code ends the test."""
    if args and args[0] in ("train", "eval", "generate") and "--backend" not in args:
        args = (*args, *FLAGS, "--backend", BACKEND)
    launcher = LAUNCHER if "--mesh" in args else []
    p = subprocess.run([*launcher, TRAINER, *map(str, args)], capture_output=True, text=True, errors="replace", timeout=600)
    if p.returncode != expect:
        sys.exit(f"{' '.join(map(str, args))}: exit {p.returncode}, wanted {expect}\n{p.stdout[-2000:]}\n{p.stderr[-2000:]}")
    return p.stdout, p.stderr


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


CODES = {"F32": "f", "F64": "d", "I64": "q", "I32": "i", "U8": "B"}


class Safetensors:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.raw = f.read()
        n = struct.unpack("<Q", self.raw[:8])[0]
        self.header = json.loads(self.raw[8:8 + n])
        self.header.pop("__metadata__", None)
        self.start = 8 + n

    def names(self):
        return list(self.header)

    def shape(self, name):
        return self.header[name]["shape"]

    def read(self, name):
        entry = self.header[name]
        begin, end = entry["data_offsets"]
        raw = self.raw[self.start + begin:self.start + end]
        if entry["dtype"] == "BF16":
            wide = bytearray(2 * len(raw))
            wide[2::4], wide[3::4] = raw[0::2], raw[1::2]
            return array.array("f", bytes(wide))
        return array.array(CODES[entry["dtype"]], raw)


def write_safetensors(path, tensors):
    """tensors: {name: (dtype, shape, values)}, values as bytes or numbers"""
    header, parts, end = {}, [], 0
    for name, (dtype, shape, values) in tensors.items():
        raw = values if isinstance(values, bytes) else array.array(CODES[dtype], values).tobytes()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(raw)]}
        end += len(raw)
        parts.append(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.writelines(parts)


def difference(a, b):
    """(||a - b||, ||b||); NaN never passes."""
    d = n = 0.0
    for x, y in zip(a, b):
        d += (x - y) * (x - y)
        n += y * y
    return d ** 0.5, n ** 0.5


class Report:
    def __init__(self):
        self.passed = self.failed = 0
        self.lock = threading.Lock()

    def check(self, ok, what):
        with self.lock:
            if ok:
                self.passed += 1
            else:
                self.failed += 1
                print("FAILED:", what, flush=True)

    def close(self):
        print(f"{self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed else 0)


def scratch():
    return tempfile.TemporaryDirectory(prefix="plait-")
