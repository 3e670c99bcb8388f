"""What other programs make of plait's folders, and the other way round. Needs torch, transformers and safetensors; not part of ctest.

usage: MOE_TRAINER=build/cpu/bin/moe_trainer python3 tests/interop/hugging_face.py [MODEL ...]   (default: all of tests/oracles)

1. transformers loads an export of every model (one file, and numbered files with an index), misses nothing and finds nothing unknown; its
   logits are those of `eval --dump`.
For three models, too:
2. PyTorch's HuggingFaceStorageReader reads a checkpoint of eight ranks (packed tensors, uneven shards) and finds the export's values.
3. A checkpoint that its HuggingFaceStorageWriter wrote from two ranks is loaded here.
"""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "trainer"))
from lib_trainer import DENSE, ORACLES, Report, Safetensors, run, scratch  # noqa: E402

WRITER = """
import os, sys, torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor, Shard, Replicate
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from transformers import AutoModelForCausalLM
source, target = sys.argv[1:3]
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
state = {}
for name, p in model.state_dict().items():
    place = Shard(1) if name.endswith("o_proj.weight") else Shard(0)
    state[name] = distribute_tensor(p.detach(), mesh, [place])
dcp.save(state, storage_writer=HuggingFaceStorageWriter(target, save_distributed=True))
dist.destroy_process_group()
"""


STORAGE = ("mixtral", "qwen3_moe", "qwen3_moe_tied")  # of these, what PyTorch's distributed reader and writer make, too


def compare_exports(model, d, tokens, report):
    """Trains ten steps and exports, in one file and in many; transformers must compute what `eval` does. Returns its model."""
    import torch
    import transformers
    folder, given = os.path.dirname(tokens), Safetensors(tokens)
    ids = torch.tensor(list(given.read("input_ids"))).reshape(given.shape("input_ids"))
    mask = torch.tensor(list(given.read("attention_mask"))).reshape(ids.shape) if "attention_mask" in given.names() else torch.ones_like(ids)
    one, many, dump = (os.path.join(d, n) for n in ("one", "many", "dump"))
    train = ["train", "--model", folder, "--tokens", tokens, "--steps", 10, "--mesh", "fsdp=2,tp=2", *([] if model in DENSE else ["--ep"])]
    run(*train, "--export", one, "--save", os.path.join(d, "save"))
    run(*train, "--export", many, "--export-shard-size", 5e-5)
    run("eval", "--model", one, "--tokens", tokens, "--dump", dump)
    ours = torch.tensor(list(Safetensors(dump).read("logits"))).reshape(*ids.shape, -1)
    for path in (one, many):
        theirs, info = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        report.check(not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], f"{model}: {info}")
        with torch.no_grad():
            logits = theirs(ids, attention_mask=mask).logits
        worst = (logits - ours)[mask.bool()].abs().max().item()
        report.check(worst < 5e-6 * max(1.0, ours.abs().max().item()), f"{model}: logits differ by {worst}")
        print(f"{model}: transformers' logits of {os.path.basename(path)} within {worst:.1e}", flush=True)
    return theirs


def main():
    import torch
    import transformers
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    print("torch", torch.__version__, "transformers", transformers.__version__)
    report = Report()
    for model in sys.argv[1:] or sorted(os.listdir(ORACLES)):
        tokens = os.path.join(ORACLES, model, "oracle.safetensors")
        with scratch() as d:
            theirs = compare_exports(model, d, tokens, report)
            if model not in STORAGE:
                continue
            save, one = os.path.join(d, "save"), os.path.join(d, "one")
            memory = {k: v for k, v in theirs.state_dict().items() if not (k == "lm_head.weight" and theirs.config.tie_word_embeddings)}
            # a checkpoint of eight ranks under tensor parallelism: packed experts, uneven storage shards
            wide = os.path.join(d, "wide")
            run("train", "--resume", save, "--tokens", tokens, "--steps", 11, "--lr", 0, "--weight-decay", 0, "--mesh", "fsdp=4,tp=2", "--save", wide)
            folder_11 = os.path.join(wide, "step-00000011")
            state = {k: torch.full_like(v, float("nan")) for k, v in memory.items()}
            state.update({f"optimizer.moment1.{k}": torch.full_like(v, float("nan")) for k, v in memory.items()})
            dcp.load(state, storage_reader=HuggingFaceStorageReader(folder_11), no_dist=True)
            report.check(all(torch.equal(state[k], v) for k, v in memory.items()), f"{model}: PyTorch's reader finds other values")
            report.check(all(not torch.isnan(v).any() for v in state.values()), f"{model}: PyTorch's reader leaves holes")
            shards = len([n for n in os.listdir(folder_11) if n.startswith("shard-")])
            print(f"{model}: PyTorch's reader read {len(state)} tensors from {shards} model shards")
            # and back
            foreign, again = os.path.join(d, "foreign"), os.path.join(d, "again")
            script = os.path.join(d, "writer.py")
            open(script, "w").write(WRITER)
            subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29533", script, one, foreign], check=True,
                           stderr=subprocess.DEVNULL)
            json.load(open(os.path.join(one, "config.json")))
            subprocess.run(["cp", os.path.join(one, "config.json"), foreign], check=True)
            run("train", "--model", foreign, "--tokens", tokens, "--steps", 0, "--mesh", "tp=4", "--ep", "--export", again)
            a, b = Safetensors(os.path.join(again, "model.safetensors")), Safetensors(os.path.join(one, "model.safetensors"))
            same = sorted(a.names()) == sorted(b.names()) and all(a.read(n) == b.read(n) for n in b.names())
            report.check(same, f"{model}: PyTorch's two-rank checkpoint loads as something else")
            print(f"{model}: loaded from {sorted(os.listdir(foreign))}")
    report.close()


main()
