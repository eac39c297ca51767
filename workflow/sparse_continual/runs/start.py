"""An arm at its base: the model loaded, what exists and what may be written set up, the mechanism attached."""

import importlib
from pathlib import Path

from sparse_continual import registry
from sparse_continual.identity import seed_of
from sparse_continual.models.load import load_model, prunable
from sparse_continual.runs.mechanism import Mechanism, Setting, random_places

TOPOLOGY = "topology.safetensors"


def start(arm: dict, folder, topology, like, seed: int, device="cpu") -> Mechanism:
    """The mechanism of `arm`, attached to the model in `folder`.

    arm: {mechanism: {kind, ...}, locked, sparse, writes, ends}; topology, like: folders of the arm's own
    topology and of the one whose places a dense arm's `writes` takes, None where there is none.
    """
    model = load_model(folder, device)
    linears = prunable(model)
    exists = _masks(topology, device) if arm["sparse"] and arm["locked"] else None
    writable = exists
    if arm["writes"] != "all":
        writable = _masks(like, device)
        if arm["writes"] == "random":
            writable = random_places(writable, seed_of("random writes", seed))
    setting = Setting(model, linears, exists, writable, arm["ends"], seed)
    module = registry.load("runs.mechanisms", arm["mechanism"]["kind"])
    return module.Mechanism(setting, arm["mechanism"])


def _masks(folder, device) -> dict:
    # by name, not by import: only arms that use a mask may depend on the code that reads one
    mask = importlib.import_module("sparse_continual.topologies.mask")
    masks = mask.Topology.load(Path(folder) / TOPOLOGY).masks
    return {name: exists.to(device) for name, exists in masks.items()}
