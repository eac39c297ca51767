"""The contract of a mechanism: what may be written, and which rows a step sees.

A mechanism is one file in `runs/mechanisms` with a `SCHEMA` and a class `Mechanism` derived from the
one below, which is plain fine-tuning. It may override how weights are written (`attach`, `untouched`,
`weights`), which rows a step takes (`rows`), and what it keeps between tasks (`end_task`, `memory`,
`remember`).
"""

import hashlib
from dataclasses import dataclass
from itertools import chain

import torch

from sparse_continual.identity import seed_of
from sparse_continual.training.batches import batch_rows
from sparse_continual.training.trainables import AllPlaces, Ends, FixedPlaces


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
        """Make the block matrices writable. Returns their trainable (as in training/trainables.py)."""
        setting = self.setting
        if setting.writable is None:
            return AllPlaces(setting.linears)
        return FixedPlaces(setting.linears, setting.writable)

    def parameters(self) -> list:
        """All trainable tensors."""
        return self.places.parameters() + self.ends.parameters()

    def rows(self, firsts: list[int], counts: list[int], task: int, batch_size: int, seed: int, step: int):
        """int64[batch_size] rows of a step on task number `task` (from 0), numbered over all tasks.

        firsts, counts: first row and number of rows of each task; seed: the task's own; step: from 0.
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
        """{name: tensor} of the matrices as the model uses them, and of the ends where they are trained."""
        blocks = {name: module.weight.detach().clone() for name, module in self.setting.linears.items()}
        return {**blocks, **self.ends.state()}

    def untouched(self):
        """Block weights that no step may change, tensor by tensor: those outside `writable`."""
        for name, places in (self.setting.writable or {}).items():
            yield self.setting.linears[name].weight[~places]

    @torch.no_grad()
    def verify(self) -> None:
        """Raise AssertionError for an absent weight that is not zero, or a frozen one that has changed."""
        for name, exists in (self.setting.exists or {}).items():
            if self.setting.linears[name].weight[~exists].any():
                raise AssertionError(f"{name}: an absent weight is not zero")
        if self._frozen_digest() != self.frozen:
            raise AssertionError("a frozen weight has changed")

    @torch.no_grad()
    def _frozen_digest(self) -> str:
        """SHA-256 over the bytes of frozen ends and of untouched block weights."""
        ends = [] if self.ends.trained else self.ends.named.values()
        digest = hashlib.sha256()
        for tensor in chain(ends, self.untouched()):
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


def random_places(like: dict, seed: int) -> dict:
    """As many places per matrix as `like` has, drawn uniformly: what tells place from count."""
    places = {}
    for name in sorted(like):
        generator = torch.Generator().manual_seed(seed_of("random places", seed, name))
        chosen = torch.randperm(like[name].numel(), generator=generator)[: int(like[name].sum())]
        places[name] = (
            torch.zeros(like[name].numel(), dtype=torch.bool).scatter_(0, chosen, True).view(like[name].shape)
        )
    return places
