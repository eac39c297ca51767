"""Attach an arm's mechanism to its base: the model, its topology, and the weights that may be written."""

from pathlib import Path

from sparse_continual import registry
from sparse_continual.identity import seed_of
from sparse_continual.models.load import load_model, prunable
from sparse_continual.runs.mechanism import Mechanism, Setting, mechanism_class, random_places


def start(arm: dict, job: dict, device="cpu") -> Mechanism:
    """The mechanism of `arm`, attached to its model on `device`.

    arm: {mechanism: {kind, ...}, locked, sparse, writes, ends}; job: {model, trust_remote_code, topology,
    like} as from runs.inputs.located, and seed.
    """
    model = load_model(job["model"], device, job["trust_remote_code"])
    exists = _masks(job["topology"], device) if arm["sparse"] and arm["locked"] else None
    writable = exists
    if arm["writes"] != "all":
        writable = _masks(job["like"], device)
        if arm["writes"] == "random":
            writable = random_places(writable, seed_of("random writes", job["seed"]))
    setting = Setting(model, prunable(model), exists, writable, arm["ends"], job["seed"])
    return mechanism_class(arm["mechanism"]["kind"])(setting, arm["mechanism"])


def _masks(folder, device) -> dict:
    # by name, not by import: only arms that use a mask may depend on the code that reads one
    topology = registry.by_name("topologies.topology").Topology
    masks = topology.load(Path(folder) / topology.FILE).masks
    return {name: exists.to(device) for name, exists in masks.items()}
