"""Tiny stand-ins of published checkpoints, on a hub on loopback, and a reader who knows that hub alone."""

import csv
import io
import subprocess

import numpy as np
import torch
import yaml
from driver import ROOT, command
from encoded import bitmask, encode, shard  # noqa: E402
from fake_hub import FakeHub, files_of  # noqa: E402

from sparse_continual.bases.published import entry  # noqa: E402

TOKEN = "good-token"
FIGURES = yaml.safe_load((ROOT / "config.yaml").read_text())["figures"]
LINEAR = "_proj.weight"


def small(**more):
    """An overlay that leaves of a study what shows that the line holds."""
    study = {
        "blocks": 1,
        "training": {"batch_size": 4, "stop": {"steps": 3}},
        "tuning": {"learning_rates": [1e-3], "blocks": 2, "tasks": 1},
    }
    figures = {name: None for name in FIGURES if name not in ("forest", "density")}
    return {"study": {**study, **more.pop("study", {})}, "figures": figures, **more}


def llama(seed, dtype=torch.float32):
    from transformers import LlamaConfig, LlamaForCausalLM

    from sparse_continual.streams.lexicon import tokenizer

    words = tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).to(dtype), words


def zeroed(model, kept):
    """`model`, with zeros, some of them -0.0, where kept(matrix name, |weight|) says False."""
    for name, weight in model.named_parameters():
        if name.endswith(LINEAR):
            weight.data *= kept(name, weight.detach().float().abs())  # a negative weight leaves -0.0
    return model


def two_of_four(name, size):
    groups = size.view(-1, 4)
    return torch.zeros_like(groups, dtype=bool).scatter_(1, groups.topk(2).indices, True).view_as(size)


def half(name, size):
    return size >= size.median()


def pickled(folder, model, words):
    """A checkpoint as older repositories have it: pickled weights."""
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def stand_ins(root):
    """(hub, {registry name: commit}, {name: model}) of what the shipped studies name, made in folder `root`."""
    hub, commits, models = FakeHub(), {}, {}

    def serve(name, folder, **faults):
        commits[name] = hub.add(entry(name)["repo"], folder, **faults)

    for seed, (name, kept) in enumerate(
        {
            "llama2.c-stories110M": lambda name, size: torch.ones_like(size, dtype=bool),
            "llama2.c-stories110M-pruned50": lambda name, size: size >= size.quantile(0.7),  # not as declared
            "llama2.c-stories110M-pruned2.4": two_of_four,
        }.items()
    ):
        model, words = llama(seed)
        models[name] = zeroed(model, kept)
        serve(name, pickled(root / name, models[name], words))
    dense, words = llama(7, torch.bfloat16)
    for name, model in (
        ("Llama-3.1-8B", dense),
        ("Sparse-Llama-3.1-8B-2of4", zeroed(llama(8, torch.bfloat16)[0], two_of_four)),
    ):
        model.save_pretrained(root / name)
        words.save_pretrained(root / name)
        shard(root / name)
        models[name] = model
        serve(
            name, root / name, **({"gated": True, "admitted": frozenset({TOKEN})} if model is dense else {})
        )
    masks = {
        name.removesuffix(".weight") + ".weight.mask": two_of_four(name, weight.detach().float().abs())
        for name, weight in dense.named_parameters()
        if name.endswith(LINEAR)
    }
    packed = io.BytesIO()
    np.savez_compressed(packed, **{name: np.packbits(mask.numpy()) for name, mask in masks.items()})
    models["masks"] = {name.removesuffix(".mask"): mask for name, mask in masks.items()}
    serve("LLaMA-3.1-8B-MaskLLM-C4", {"mask_compressed.npz": packed.getvalue(), "README.md": b"masks"})

    name = "llama2.c-stories110M-pruned50-compressed-tensors"
    model, words = llama(9)
    models[name] = zeroed(model, half)
    model.save_pretrained(root / name)
    words.save_pretrained(root / name)
    block = {"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-bitmask"}}
    encode(root / name, bitmask, lambda name: name.endswith(LINEAR), block={"quantization_config": block})
    serve(name, files_of(root / name))
    return hub, commits, models


class World:
    """A working directory of a reader who knows the fake hub alone."""

    def __init__(self, served, checkout, folder):
        self.hub, self.commits, self.models = served
        self.checkout, self.folder = checkout, folder
        self.folder.mkdir(exist_ok=True)
        self.asked = len(self.hub.requests)

    def run(self, *arguments, overlays=(), study=None, token=None, offline=False):
        """The finished process of snakemake with a shipped study, by name, and overlays."""
        files = [self.checkout / "studies" / f"{study}.yaml"] if study else []
        for number, overlay in enumerate(overlays):
            files.append(self.folder / f"overlay{number}.yaml")
            files[-1].write_text(yaml.safe_dump(overlay))
        line, _ = command(self.checkout, self.folder, *arguments, "--configfile", *files)
        environment = self.hub.environment(self.folder / "hf", token, offline)
        environment |= {"PYTHONPATH": str(self.checkout / "workflow"), "OMP_NUM_THREADS": "1"}
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=1500)

    @property
    def requests(self):
        return self.hub.requests[self.asked :]

    def rows(self, path):
        with open(self.folder / path, newline="") as handle:
            return list(csv.DictReader(handle))


def revisions_of_stories(commits):
    return {
        "bases": {
            "stories": {"revision": commits["llama2.c-stories110M"]},
            "pruned50": {"revision": commits["llama2.c-stories110M-pruned50"]},
            "pruned24": {"revision": commits["llama2.c-stories110M-pruned2.4"]},
        }
    }


def revisions_of_llama(commits):
    dense = commits["Llama-3.1-8B"]
    return {
        "bases": {
            "sparse_llama": {"revision": commits["Sparse-Llama-3.1-8B-2of4"]},
            "llama": {"revision": dense},
            "mask_llama": {"revision": commits["LLaMA-3.1-8B-MaskLLM-C4"], "dense_revision": dense},
        }
    }
