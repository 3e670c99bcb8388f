"""Writes an oracle: a tiny checkpoint with random weights and the numbers that transformers computes with it. Needs torch, transformers
and safetensors; not part of ctest.

usage: make_oracle.py OUT CONFIG [FIELD=VALUE ...] [--seed N] [--rows B] [--columns S] [--labels] [--after]
                      [--dtype float32|bfloat16|float16] [--shard-size BYTES] [--as-given]

CONFIG is a config.json, or a folder that has one, such as tests/oracles/mixtral. Each FIELD=VALUE changes a field of it: VALUE is JSON (or
else a text), `FIELD=` takes the field out, a dot goes into an object (rope_parameters.factor=4). The same arguments write the same bytes.

OUT becomes what save_pretrained writes (--as-given: with the config.json as given instead of transformers' own spelling of it) and
  oracle.safetensors  input_ids, with --labels also labels and attention_mask, logits, grad.<name in transformers>, with --after after.<name>
  oracle.json         the loss of that forward; ten steps of AdamW with clipping and their losses and norms; what greedy decoding adds then
which is what tests/trainer/oracles.py reads from tests/oracles/<name>.

No parameter keeps its initial value: norms are not ones, biases, sinks and corrections of the choice not zeros. phimoe is evaluated, not
trained, when it computes: its class's training draws experts at random.
"""
import argparse
import json
import os
import shutil
import sys

EVALUATED = ("phimoe",)
TRAIN = {"optimizer": "AdamW", "lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "clip_grad_norm": 1.0, "steps": 10}


def read_config(path):
    with open(os.path.join(path, "config.json") if os.path.isdir(path) else path) as f:
        return json.load(f)


def change(config, text):
    """Applies one FIELD=VALUE."""
    field, sign, value = text.partition("=")
    if not sign:
        sys.exit(f"make_oracle.py: {text!r} is no FIELD=VALUE")
    *outer, last = field.split(".")
    for name in outer:
        config = config.setdefault(name, {})
    if value == "":
        config.pop(last, None)
        return
    try:
        config[last] = json.loads(value)
    except json.JSONDecodeError:
        config[last] = value


def build(config, seed):
    """The model of a config.json's fields with random weights that are no model's initial ones."""
    import torch
    import transformers
    fields = {k: v for k, v in config.items() if k not in ("model_type", "architectures", "transformers_version")}
    model_config = transformers.AutoConfig.for_model(config["model_type"], **json.loads(json.dumps(fields)))
    model_config._experts_implementation = "eager"
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(model_config, attn_implementation="eager").float()
    draw = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for _, p in model.named_parameters():
            if p.dim() > 1:
                p.copy_(torch.randn(p.shape, generator=draw) * 0.15)
            else:
                p.add_(torch.randn(p.shape, generator=draw) * 0.1)
        for name, b in model.named_buffers():
            if "correction" in name:
                b.copy_(torch.randn(b.shape, generator=draw) * 0.1)
    model.generation_config.pad_token_id = None  # which may be below zero in config.json, but not there
    return model.eval() if config["model_type"] in EVALUATED else model.train()


def save(model, out, given=None, dtype="float32", shard_size="5GB"):
    """As save_pretrained does it; with the config.json that is given, if one is. Narrower weights are rounded in the model, too."""
    import copy
    import torch
    if dtype != "float32":
        state = model.state_dict()
        with torch.no_grad():
            for value in state.values():
                value.copy_(value.to(getattr(torch, dtype)).float())
        copy.deepcopy(model).to(getattr(torch, dtype)).save_pretrained(out, max_shard_size=shard_size)
    else:
        model.save_pretrained(out, max_shard_size=shard_size)
    if given is not None:
        with open(os.path.join(out, "config.json"), "w") as f:
            json.dump(given, f, indent=2)


def draw_tokens(vocabulary, rows, columns, seed, labelled):
    """input_ids; labelled: labels of which some are ignored, and rows padded on the right, too."""
    import torch
    draw = torch.Generator().manual_seed(seed + 2)
    batch = {"input_ids": torch.randint(0, vocabulary, (rows, columns), generator=draw)}
    if labelled:
        labels = batch["input_ids"].clone()
        labels[torch.rand(labels.shape, generator=draw) < 0.2] = -100
        mask = torch.ones_like(labels)
        for row in range(1, rows):
            mask[row, columns - min(3 * row, columns - 2):] = 0
        labels[mask == 0] = -100
        batch |= {"labels": labels, "attention_mask": mask}
    return batch


def forward(model, batch):
    return model(**({"labels": batch["input_ids"]} | batch), use_cache=False)


def gradients(model):
    import torch
    return {"grad." + n: (torch.zeros_like(p) if p.grad is None else p.grad).detach().clone().contiguous() for n, p in model.named_parameters() if p.requires_grad}


def train(model, batch):
    """Losses before each step and norms before clipping."""
    import torch
    optimizer = torch.optim.AdamW(model.parameters(), lr=TRAIN["lr"], betas=TRAIN["betas"], eps=TRAIN["eps"], weight_decay=TRAIN["weight_decay"])
    losses, norms = [], []
    for _ in range(TRAIN["steps"]):
        optimizer.zero_grad()
        loss = forward(model, batch).loss
        loss.backward()
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), TRAIN["clip_grad_norm"]).item())
        optimizer.step()
    return losses, norms


def greedy(model, prompt, count):
    import torch
    ids = prompt[None]
    with torch.no_grad():
        for _ in range(count):
            ids = torch.cat([ids, model(input_ids=ids, use_cache=False).logits[:1, -1:].argmax(-1)], 1)
    return ids[0].tolist()


def write(out, config, *, seed=0, rows=2, columns=20, labelled=False, after=False, dtype="float32", shard_size="5GB", as_given=False):
    import torch
    import transformers
    from safetensors.torch import save_file
    model = build(config, seed)
    save(model, out, config if as_given else None, dtype, shard_size)
    batch = draw_tokens(model.config.vocab_size, rows, columns, seed, labelled)
    result = forward(model, batch)
    result.loss.backward()
    tensors = batch | {"logits": result.logits.detach().float().contiguous()} | gradients(model)
    facts = {"model_type": config["model_type"], "transformers": transformers.__version__, "torch": torch.__version__, "dtype": "float32", "loss": result.loss.item()}
    if getattr(result, "aux_loss", None) is not None:
        facts["aux_loss"] = result.aux_loss.item()
    losses, norms = train(model, batch)
    facts["train"] = TRAIN | {"losses": losses, "grad_norms": norms}
    if after:
        tensors |= {"after." + n: p.detach().clone().contiguous() for n, p in model.named_parameters()}
    prompt = batch["input_ids"][0, :8]
    facts["greedy"] = {"prompt": prompt.tolist(), "ids": greedy(model.eval(), prompt, 16)}
    save_file(tensors, os.path.join(out, "oracle.safetensors"))
    with open(os.path.join(out, "oracle.json"), "w") as f:
        json.dump(facts, f, indent=1)


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0], description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("changes", metavar="FIELD=VALUE", nargs="*")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--labels", action="store_true")
    parser.add_argument("--after", action="store_true")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--shard-size", default="5GB")
    parser.add_argument("--as-given", action="store_true")
    o = parser.parse_args()
    config = read_config(o.config)
    for text in o.changes:
        change(config, text)
    if os.path.exists(o.out):
        sys.exit(f"make_oracle.py: {o.out} is there already; remove it or choose another folder")
    try:
        write(o.out, config, seed=o.seed, rows=o.rows, columns=o.columns, labelled=o.labels, after=o.after, dtype=o.dtype,
              shard_size=int(o.shard_size) if o.shard_size.isdigit() else o.shard_size, as_given=o.as_given)
    except BaseException:
        shutil.rmtree(o.out, ignore_errors=True)
        raise


if __name__ == "__main__":
    main()
