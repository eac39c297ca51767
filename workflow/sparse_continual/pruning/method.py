"""The contract of a pruning method: it chooses which weights of a model are kept.

A method is one file in `pruning/methods`, named as the config names it. It has

- a docstring: source, formula, settings, cost, limits;
- `SCHEMA`, the JSON schema of its own settings, each with a description and, where there is one, a default;
- `METHOD = Method(prune_matrix, patterns=..., ...)` as its last statement.

Most methods need `prune_matrix` and, if they read text, `statistics`. `magnitude.py` and `wanda.py` are the shortest
examples. `prune` works in this order:

    gather(job, **settings)                  once, where defined: look at the whole model, or train it
    for each decoder block:
        prune_block(block, job, **settings)  where defined; otherwise for each matrix of the block:
            prune_matrix(weight, evidence, count, **settings)

A method with `prune_model` replaces all of this, and a method with `read` prunes nothing.

The file must import without torch, because every start loads the methods for what they declare. Import torch inside
functions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a pruning method does, and what it declares.

    prune_matrix(weight, evidence, count, **settings) -> (mask bool[R, C], weight [R, C]): the kernel. `weight` is one
        matrix [outputs, inputs]; the kernel never sees the model. `evidence` is an object of `statistics` for this
        matrix, or the result of `gather` for it, or None. `count` is a `counts.Count`: how many weights to keep.
        `pruning.select.keep` turns scores into a mask with this count. Settings are passed unless `gather` took them.
        Weights that do not exist (`count.existing`) must not return.
    statistics: class whose objects sum over a matrix's inputs while a block reads the calibration rows
        (`pruning.input_statistics`). None: no inputs are measured.
    gather(job, **settings) -> function (name of a matrix -> evidence): looks at the model as a whole or trains it.
        `job` is a `pruning.prune.Job`. A method that trains brings back no weight outside `job.existing`.
    prune_block(block, job, **settings): prunes one `blockwise.Block` by calling `job.prune_one` for each matrix.
    prune_model(job, sparsity, **settings): prunes whole heads and channels of the model (pattern `structured`).
    read(model) -> Topology: takes the topology from the zeros of the weights.
    scores(weight, evidence, **settings) -> float32 [R, C]: what allocation `global` compares over all matrices.

    patterns: the supported patterns, of `dense`, `unstructured`, `N:M`, `structured`. ("N:M" stands for all N and M.)
        Empty: the config names no pattern.
    allocations: the supported allocations; the first is the default.
    counts: `exact`, and `reference` if the method can round and break ties as its authors do.
    needs_calibration: whether the method reads text.
    at_init: whether its choice means something before training.

    check(settings): raises UserError where settings contradict each other. Called when the config is checked.
    based_on(settings) -> names of other methods that this one uses under these settings.
    passes(options, text) -> `pruning.cost.Passes`: tokens that pass through the model, for the plan. `text` is a
        `pruning.cost.Text`. None: one walk over the blocks if there are `statistics`, otherwise nothing. For a method
        that trains, `training.gradual.passes` counts them.
    """

    prune_matrix: Callable | None = field(default=None, kw_only=False)
    statistics: type | None = None
    gather: Callable | None = None
    prune_block: Callable | None = None
    prune_model: Callable | None = None
    read: Callable | None = None
    scores: Callable | None = None

    patterns: tuple[str, ...]
    allocations: tuple[str, ...] = ("uniform",)
    counts: tuple[str, ...] = ("exact",)
    needs_calibration: bool = False
    at_init: bool = False

    check: Callable | None = None
    based_on: Callable | None = None
    passes: Callable | None = None

    @property
    def found(self) -> bool:
        """Whether the topology is read from the zeros of the weights, so that nothing is pruned."""
        return self.read is not None

    def others(self, settings: dict) -> list[str]:
        """Names of the other methods that this one uses under these settings."""
        return self.based_on(settings) if self.based_on else []
