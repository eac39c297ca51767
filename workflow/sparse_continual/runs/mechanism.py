"""The contract of a mechanism: what may be written, and which rows a step sees.

A mechanism is one file in `runs/mechanisms` with a `SCHEMA` and a class `Mechanism` derived from the
one below, which is plain fine-tuning. It may override how weights are written (`attach`), which rows
a step takes (`rows`), and what it keeps between tasks (`end_task`, `memory`, `remember`).
"""

import hashlib
from dataclasses import dataclass

import torch

from sparse_continual.identity import seed_of
from sparse_continual.streams.batches import batch_rows
from sparse_continual.topologies.physical import AllPlaces, Ends, FixedPlaces


@dataclass
class Setting:
    """What a mechanism works on.

    model: transformers causal LM; linears: {weight name: Linear} of its blocks; exists: {weight name:
    bool tensor} of a locked sparse topology, else None; writable: {weight name: bool
    tensor} where block weights may be written, else None for everywhere; ends: "frozen" or "trained".
    """

    model: torch.nn.Module
    linears: dict
    exists: dict | None
    writable: dict | None
    ends: str
    seed: int


class Mechanism:
    """Fine-tuning of everything that may be written."""

    def __init__(self, setting: Setting, settings: dict):
        self.setting, self.settings = setting, settings
        for parameter in setting.model.parameters():
            parameter.requires_grad_(False)
        self.ends = Ends(setting.model, setting.linears, setting.ends == "trained")
        self.places = self.attach()
        self.frozen = self._frozen_digest()

    def attach(self):
        """Make the block matrices writable. Returns their trainable (as in topologies/physical.py)."""
        setting = self.setting
        if setting.writable is None:
            return AllPlaces(setting.linears)
        return FixedPlaces(setting.linears, setting.writable)

    def parameters(self) -> list:
        """All trainable tensors."""
        return self.places.parameters() + self.ends.parameters()

    def rows(self, firsts: list[int], counts: list[int], task: int, batch_size: int, seed: int, step: int):
        """int64[batch_size] rows of a step on task number `task` (from 0), counted over all tasks' training rows.

        firsts, counts: first row and number of rows of each task.
        """
        return firsts[task] + batch_rows(counts[task], batch_size, seed, step)

    def end_task(self, firsts: list[int], counts: list[int], task: int) -> None:
        """Called when a task is done. Fine-tuning keeps nothing."""

    def memory(self) -> dict:
        """Plain data kept between tasks, besides weights: what a resumed run needs."""
        return {}

    def remember(self, memory: dict) -> None:
        """Take over what `memory` returned."""

    def state(self) -> dict:
        """{name: tensor} of everything trained, compact: what is saved after each task."""
        return {**self.places.state(), **self.ends.state()}

    def load(self, state: dict) -> None:
        """Take over tensors saved by `state`, on a model fresh from its base."""
        self.places.load(state)
        self.ends.load(state)

    @torch.no_grad()
    def weights(self) -> dict:
        """{name: tensor} of the dense matrices as the model uses them, and of the ends where they are trained."""
        blocks = {name: module.weight.detach().clone() for name, module in self.setting.linears.items()}
        return {**blocks, **self.ends.state()}

    def verify(self) -> None:
        """Raise AssertionError when an absent weight is not exactly zero or a frozen one has changed a bit."""
        for name, exists in (self.setting.exists or {}).items():
            weight = self.setting.linears[name].weight
            if weight[~exists].any():
                raise AssertionError(f"{name}: an absent weight is not zero")
        if self._frozen_digest() != self.frozen:
            raise AssertionError("a frozen weight has changed")

    @torch.no_grad()
    def _frozen_digest(self) -> str:
        """SHA-256 over the bytes of what must not change: frozen ends, and block weights outside `writable`."""
        digest = hashlib.sha256()
        if not self.ends.trained:
            for tensor in self.ends.named.values():
                digest.update(tensor.detach().cpu().numpy().tobytes())
        if self.setting.writable is not None:
            for name, places in self.setting.writable.items():
                digest.update(self.setting.linears[name].weight.detach()[~places].cpu().numpy().tobytes())
        return digest.hexdigest()


def random_places(like: dict, seed: int) -> dict:
    """As many places per matrix as `like` has, drawn uniformly: the control that separates place from count."""
    places = {}
    for name in sorted(like):
        generator = torch.Generator().manual_seed(seed_of("random places", seed, name))
        chosen = torch.randperm(like[name].numel(), generator=generator)[: int(like[name].sum())]
        places[name] = torch.zeros(like[name].numel(), dtype=torch.bool).scatter_(0, chosen, True).view(like[name].shape)
    return places
