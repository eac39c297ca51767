"""The contract of a mechanism: how a condition writes, what it keeps between tasks, how it answers, what it costs.

A mechanism is one file in `runs/mechanisms` with a `SCHEMA` and a class `Mechanism` derived from the one below, which
is plain fine-tuning. It overrides what it does differently. A run calls its methods in this order:

    for each task:
        before_task(task)            choose places, grow
        for each step:
            rows(task, ...)          choose the rows of the batch
            loss(batch)
            adjust()                 change the gradients, before they are clipped
            after_step(done)
            rewire(task, done)       change places within the task, if after_step returned True
        end_task(task)               importances, buffers, merging
        form(), state(), memory()    saved
        view(task)                   scored

`form` says which tensors exist (places chosen, blocks or adapters added), `state` holds their values, `memory` holds
everything else that later tasks need. A killed run restores the three, in this order, and then continues in the middle
of a task without calling `before_task`: an attribute that is in none of the three is lost.

Nothing heavy is imported here, so that facts and prices of mechanisms are known without torch.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.identity import seed_of
from sparse_continual.training.arithmetic import Shape, ends, training_flops

if TYPE_CHECKING:
    import numpy as np

    from sparse_continual.streams.tasks import Split

ACTIONS = (None, "places", "rows", "loss", "penalty", "after", "schedule")
TASK_IDS = ("none", "oracle")
MOMENTS = ("renewed", "carried")
PAIRS = (("form", "take_form"), ("memory", "remember"), ("state", "load"))


@dataclass
class Setting:
    """The model that a mechanism works on, and its limits.

    model: transformers causal LM; linears: {weight name: Linear} of its blocks; exists: {weight name:
    bool tensor} of a locked sparse topology, else None; writable: {weight name: bool
    tensor} where block weights may be written, else None for everywhere; ends: "frozen" or "trained".
    """

    model: object
    linears: dict
    exists: dict | None
    writable: dict | None
    ends: str
    seed: int


@dataclass(frozen=True)
class TaskData:
    """A task as a mechanism sees it. In a joint reference, several tasks are one.

    number: from 0, in the order of the stream; rows: numbers of its training rows in `split`, which has the rows of all
    tasks; order: seed of the order of its batches; seed: the run's.
    """

    number: int
    rows: range
    split: Split
    order: int
    seed: int
    device: object = "cpu"

    def draw(self, name: str) -> np.random.Generator:
        """The task's own generator for the draws called `name`. Draws change no other random number of the run."""
        import numpy as np

        return np.random.default_rng(seed_of(name, self.seed, self.number))

    def batch(self, rows) -> dict:
        """{input_ids, labels} of the numbered rows, as `training.batches.collate` returns them."""
        from sparse_continual.training.batches import collate

        return collate(self.split, rows, self.device)


@dataclass(frozen=True)
class Sizes:
    """The facts about the stream and the training that a price depends on.

    row_tokens: tokens of a row, at most; head: share of them at which logits are computed; batch_size: rows; steps:
    per task, at most; tasks: in the stream; task_rows: training rows of a task, at most; written: prunable weights that
    the condition may write; ends_trained: whether embeddings, head and norms are trained.
    """

    row_tokens: int
    head: float
    batch_size: int
    steps: int
    tasks: int
    task_rows: int
    written: int
    ends_trained: bool


@dataclass(frozen=True)
class Price:
    """The costs of a mechanism.

    trained: number of trained values (for a growing mechanism, in the last task). step_flops, task_flops: functions of
    the number of prunable weights to count (the existing ones for theoretical FLOPs, None for all, as dense kernels
    execute them): FLOPs per token of a training step, and FLOPs once per task. They raise UserError if the FLOPs of the
    base's family are not known. buffer_rows: training rows kept at the end of the stream; state_bytes: all other bytes
    kept between tasks, besides trained values.
    """

    trained: int
    step_flops: Callable[[int | None], float]
    task_flops: Callable[[int | None], float] = lambda weights: 0
    buffer_rows: int = 0
    state_bytes: int = 0


class Mechanism:
    """Fine-tuning of everything that may be written, and the defaults of the contract.

    Facts of a mechanism, which config checks and prices read from the class:

    ACTS_ON: the part of training that it changes, one of ACTIONS; None is plain fine-tuning. TASK_ID: "oracle" if it
    needs the task's number to answer, else "none". FORGETS: False if forgetting is zero by construction, which the
    instrument check then asserts. MOMENTS: whether AdamW's moments start at zero in each task or are carried over under
    the tensors' names. WHOLE: True if tasks write to different places, so that whole matrices are saved instead of the
    present places. WRITES: the conditions' `writes` that it supports. LOCKED_BY: {setting: (value that keeps absent
    weights absent, value that does not)} if one of its own settings decides that, instead of the condition's `locked`.
    """

    ACTS_ON = None
    TASK_ID = "none"
    FORGETS = True
    MOMENTS = "renewed"
    WHOLE = False
    WRITES = ("all", "masked", "random")
    LOCKED_BY: dict = {}

    def __init__(self, setting: Setting, settings: dict):
        from sparse_continual.training.trainables import Ends

        self.setting, self.settings = setting, settings
        for parameter in setting.model.parameters():
            parameter.requires_grad_(False)
        self.ends = Ends(setting.model, setting.linears, setting.ends == "trained")
        self.places = self.attach()
        self.watch()

    @classmethod
    def price(cls, settings: dict, shape: Shape, nonzeros: int, sizes: Sizes) -> Price:
        """The costs of a mechanism of these `settings` on a model of `shape`.

        nonzeros: number of existing prunable weights; all of them if the model is not locked.
        """

        def step_flops(weights):
            written = None if weights is None else sizes.written
            return training_flops(
                shape, sizes.row_tokens, weights, written, ends_trained=sizes.ends_trained, head=sizes.head
            )

        return Price(sizes.written + (ends(shape) if sizes.ends_trained else 0), step_flops)

    # before and during a task

    def attach(self):
        """Make the block matrices writable. Returns their trainable (as in training/trainables.py)."""
        from sparse_continual.training.trainables import AllPlaces, FixedPlaces

        setting = self.setting
        if setting.writable is None:
            return AllPlaces(setting.linears)
        return FixedPlaces(setting.linears, setting.writable)

    def choose(self, writable: dict) -> None:
        """Write to the places `writable` ({weight name: bool tensor}) and to no others from now on."""
        self.places.release()
        self.setting.writable = writable
        self.places = self.attach()

    def named(self) -> dict:
        """{name: tensor} of all trainable tensors. The optimizer's moments are saved under these names."""
        ends = self.ends.named if self.ends.trained else {}
        return {**self.places.named, **{f"ends.{name}": tensor for name, tensor in ends.items()}}

    def parameters(self) -> list:
        """All trainable tensors."""
        return list(self.named().values())

    def before_task(self, task: TaskData) -> None:
        """Called before the first step of a task. Places and forms change here, and in `rewire`, and nowhere else."""

    def rows(self, task: TaskData, batch_size: int, step: int):
        """int64[batch_size]: rows of step number `step` (from 0) of a task, numbered as in `task.split`."""
        from sparse_continual.training.batches import batch_rows

        return task.rows.start + batch_rows(len(task.rows), batch_size, task.order, step)

    def loss(self, batch: dict):
        """The loss of a step, a scalar with gradient: the mean cross-entropy per counted token."""
        from sparse_continual.training.batches import loss_of

        return loss_of(self.setting.model, batch)

    def adjust(self) -> None:
        """Change the gradients of `parameters()`. Called when they are complete, before they are clipped."""

    def after_step(self, done: int) -> bool:
        """Called after every optimizer step; done: number of finished steps of the task.

        Return True to have `rewire` called, and to continue with a new optimizer. Its moments start at zero or are
        carried over, as between two tasks (MOMENTS).
        """
        return False

    def rewire(self, task: TaskData, done: int) -> None:
        """Change places or the form within a task. Called if `after_step` returned True."""

    def end_task(self, task: TaskData) -> None:
        """Called after the last step of a task, in eval mode. May change trained values, but not places."""

    # state that is saved

    def form(self) -> tuple[dict, dict]:
        """(plain data, {name: tensor}): which trained tensors exist. Fine-tuning has only one form."""
        return {}, {}

    def take_form(self, plain: dict, tensors: dict) -> None:
        """Change from the present form to a form that `form` returned."""

    def memory(self) -> tuple[dict, dict]:
        """(plain data, {name: tensor}) kept between tasks besides form and values. Fine-tuning keeps nothing."""
        return {}, {}

    def remember(self, plain: dict, tensors: dict) -> None:
        """Restore what `memory` returned."""

    def state(self) -> dict:
        """{name: tensor} of everything trained, compact, as it is saved after each task."""
        return self.weights() if self.WHOLE else {**self.places.state(), **self.ends.state()}

    def load(self, state: dict) -> None:
        """Restore tensors that `state` returned, on a model in the same form."""
        if self.WHOLE:
            for name, module in self.setting.linears.items():
                module.weight.data.copy_(state[name])
            self.choose(self.setting.writable)
        else:
            self.places.load(state)
        self.ends.load(state)

    # scoring

    def view(self, task: int | None):
        """Context manager that gives the model as it answers items of task number `task` (from 0).

        None: text that belongs to no task. The `with` block undoes its changes to the model at its end.
        """
        return nullcontext(self.setting.model)

    # invariants

    def weights(self) -> dict:
        """{name: tensor} of the matrices as the model uses them, and of the ends if they are trained."""
        blocks = {name: module.weight.detach().clone() for name, module in self.setting.linears.items()}
        return {**blocks, **self.ends.state()}

    def untouched(self):
        """(name, tensor) of all block weights that no step may change: those outside `writable`."""
        for name, places in (self.setting.writable or {}).items():
            yield name, self.setting.linears[name].weight[~places]

    def watch(self) -> None:
        """Record the frozen weights, {name: SHA-256 of the tensor's bytes}, for `verify`."""
        self.frozen = self._digests()

    def call(self, hook: str, *arguments) -> None:
        """Call `before_task` or `rewire`, if the class defines it, between `verify` and `watch`."""
        if getattr(type(self), hook) is not getattr(Mechanism, hook):
            self.verify()
            getattr(self, hook)(*arguments)
            self.watch()

    def verify(self) -> None:
        """Raise AssertionError if an absent weight is not zero, or a frozen one has changed since `watch`."""
        for name, exists in (self.setting.exists or {}).items():
            if self.setting.linears[name].weight.detach()[~exists].any():
                raise AssertionError(f"{name}: an absent weight is not zero")
        digests = self._digests()
        for name in sorted(digests.keys() | self.frozen.keys()):
            if digests.get(name) != self.frozen.get(name):
                raise AssertionError(f"{name}: a frozen weight has changed")

    def _digests(self) -> dict:
        ends = {} if self.ends.trained else self.ends.named
        return {
            name: hashlib.sha256(tensor.detach().cpu().numpy().tobytes()).hexdigest()
            for name, tensor in chain(ends.items(), self.untouched())
        }


def mechanism_class(kind: str) -> type[Mechanism]:
    """The mechanism class of a `kind`.

    Raises UserError, naming the file and the method, for a class whose methods contradict each other.
    """
    cls = registry.load("runs.mechanisms", kind)
    for contradiction in _contradictions(cls):
        raise UserError(f"{inspect.getfile(cls)}: {contradiction}")
    return cls


def _contradictions(cls):
    """One line for each pair of a class's methods and facts that contradict each other."""
    overridden = {
        name
        for name, member in vars(Mechanism).items()
        if callable(getattr(Mechanism, name)) and inspect.getattr_static(cls, name) is not member
    }
    for name in sorted(overridden - {"__init__"}):
        expected, actual = (
            list(inspect.signature(getattr(one, name)).parameters) for one in (Mechanism, cls)
        )
        if expected != actual:
            yield (
                f"Mechanism.{name} takes ({', '.join(actual)}), expected ({', '.join(expected)}) as in the contract, "
                "runs/mechanism.py"
            )
    for one, other in PAIRS:
        if (one in overridden) != (other in overridden):
            defined, missing = (one, other) if one in overridden else (other, one)
            yield (
                f"Mechanism defines {defined} without {missing}, so what one saves is not restored by the other; "
                f"define {missing} too"
            )
    kept = sorted(overridden & {"form", "memory", "state"})
    if kept and "price" not in overridden:
        yield (
            f"Mechanism keeps state of its own ({kept[0]}) but defines no price, so the plan would show the price of "
            "fine-tuning; define price"
        )
    if "rewire" in overridden and "after_step" not in overridden:
        yield "Mechanism defines rewire without after_step, which asks for it; define after_step"
    if "view" not in overridden and cls.TASK_ID != "none":
        yield f"Mechanism has TASK_ID = {cls.TASK_ID!r} but defines no view, which uses it; define view"
    for fact, known in (("ACTS_ON", ACTIONS), ("TASK_ID", TASK_IDS), ("MOMENTS", MOMENTS)):
        if getattr(cls, fact) not in known:
            yield (
                f"Mechanism.{fact} is {getattr(cls, fact)!r}, expected one of {', '.join(map(repr, known))}"
            )


def random_places(like: dict, seed: int) -> dict:
    """Uniformly drawn places, as many per matrix as `like` has: a control that separates place from number."""
    import torch

    places = {}
    for name in sorted(like):
        generator = torch.Generator().manual_seed(seed_of("random places", seed, name))
        chosen = torch.randperm(like[name].numel(), generator=generator)[: int(like[name].sum())]
        places[name] = (
            torch.zeros(like[name].numel(), dtype=torch.bool).scatter_(0, chosen, True).view(like[name].shape)
        )
    return places
