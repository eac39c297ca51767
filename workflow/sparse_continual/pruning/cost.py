"""Tokens processed while a topology is made, from its settings and the model's shape alone.

A pass counts the tokens that enter a decoder block, and the tokens whose gradients come back through it. A method
counts its own passes in `passes(options, text)`, from a `Text`. It imports nothing from this file, so that an edit of a
price remakes no topology. A method without `passes` costs one walk over the blocks if it has `statistics`, otherwise
nothing. An allocation that reads inputs adds a walk of its own.

Limits: every row counts with the greatest length. A walk also sends two rows of every further length through the model,
which can be more. A pass that stops inside a block counts as a whole one. Other work of a method (factors, updates,
products of adapters) is not counted.
"""

from dataclasses import astuple, dataclass

from sparse_continual import registry
from sparse_continual.pruning.check import agreed, options_of
from sparse_continual.topologies.counts import kept_total, matrices


@dataclass(frozen=True)
class Passes:
    """Tokens. `trained`: forward and backward through the whole model; `written`: forward through the whole model.
    Summed over decoder blocks, without the head: `read`, forward; `learnt`, backward.
    """

    trained: int = 0
    written: int = 0
    read: int = 0
    learnt: int = 0

    def __add__(self, other):
        return Passes(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Text:
    """Size of the calibration text and of the model: `sequences` rows of `tokens`; decoder `blocks`; `weights` that are
    prunable; `kept` of them (0 if the method removes whole heads and channels); `readings`: groups of a block's
    matrices with the same inputs (Llama: q, k, v; o; gate, up; down).
    """

    sequences: int
    tokens: int
    blocks: int
    weights: int
    kept: int
    readings: int = 4

    @property
    def size(self) -> int:
        """Tokens of all rows together."""
        return self.sequences * self.tokens

    def passes(self, **tokens: int) -> Passes:
        """`Passes` with these tokens and no others."""
        return Passes(**tokens)

    def walked(self, measured: int = 1) -> Passes:
        """A walk (models/blockwise.py) that measures every block `measured` times.

        Two rows find out the other arguments of the blocks. Every block but the last runs once more, for the inputs of
        the next block.
        """
        probing = min(2, self.sequences) * self.tokens * self.blocks
        return Passes(read=probing + self.size * (measured * self.blocks + self.blocks - 1))

    def of(self, name: str, options: dict) -> Passes:
        """`Passes` of the method `name`; options: its settings that differ from the defaults."""
        method = registry.load("pruning.methods", name)
        if method.passes:
            schema = registry.schema("pruning.methods", name)
            return method.passes(options_of(f"method {name}", schema, options), self)
        return self.walked() if method.statistics else Passes()


def planned(settings: dict, shape: dict, sequences: int, tokens: int, written: bool) -> Passes:
    """Tokens processed while pruning a model of this `shape` (`counts.matrices`).

    settings: {method, pattern, sparsity, allocation, counts, on_sparse, and the keys of the method's SCHEMA};
    sequences, tokens: of the calibration rows; written: whether the model generates these rows itself.
    """
    _, allocation, _ = agreed(settings)
    shared = ("method", "pattern", "sparsity", "allocation", "counts", "on_sparse", "calibration")
    options = {key: value for key, value in settings.items() if key not in shared}
    sizes, pattern = matrices(shape), settings["pattern"]
    kept = 0 if pattern == "structured" else kept_total(sizes, pattern, settings.get("sparsity"))
    text = Text(
        sequences, tokens, shape["layers"], kept_total(sizes, "dense"), kept, *_readings(shape, tokens)
    )
    total = text.of(settings["method"], options)
    if registry.load("pruning.allocations", allocation).needs == "inputs":
        total += text.walked()
    return total + Passes(written=sequences * (tokens - 1)) if written else total


def _readings(shape: dict, tokens: int) -> tuple[int, ...]:
    """(readings of a block,) if they were counted with the FLOPs of rows of `tokens`, else ()."""
    flops = (shape.get("counted") or {}).get("flops", {}).get(str(tokens))
    return (flops["readings"],) if isinstance(flops, dict) else ()
