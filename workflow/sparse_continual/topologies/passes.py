"""How many tokens pass through a model while a topology is made of it, by its settings and the model's shape alone.

Counted are the tokens that enter a decoder block, and those whose gradients come back through it. A method says its own
by `passes(options, text)`; of one that does not, it is what `pruning` has it read: a walk over the blocks where it has
`Statistics`, nothing else. An allocation that looks at inputs adds a walk of its own.

Limits: rows count at their greatest length, as if all had it; a pass that stops inside a block, because no more is
asked, counts whole; what a method computes besides (factors, updates, products of adapters) is not in it.
"""

from dataclasses import astuple, dataclass

from sparse_continual import registry
from sparse_continual.topologies.check import agreed, options_of
from sparse_continual.topologies.counts import kept_total, matrices

READINGS = 4  # groups of a Llama block's matrices that read the very same: q, k, v; o; gate, up; down


@dataclass(frozen=True)
class Text:
    """What is read, and of what model: `sequences` rows of `tokens`; decoder `blocks`; `weights` that may be pruned,
    of which `kept` stay (0 where a method takes whole heads and channels).
    """

    sequences: int
    tokens: int
    blocks: int
    weights: int
    kept: int

    @property
    def size(self) -> int:
        """Tokens of all rows."""
        return self.sequences * self.tokens


@dataclass(frozen=True)
class Passes:
    """Tokens: `trained`, forward and backward through the whole model; `written`, forward alone; `read` and `learnt`,
    forward and backward through decoder blocks alone, without the head, each block's added up.
    """

    trained: int = 0
    written: int = 0
    read: int = 0
    learnt: int = 0

    def __add__(self, other):
        return Passes(*map(sum, zip(astuple(self), astuple(other), strict=True)))


def walked(text: Text, measured: int = 1) -> Passes:
    """A walk (topologies/walk.py) on which every block is measured so many times.

    Two rows tell the blocks' other arguments; every block but the last is run once more for what the next one reads.
    """
    told = min(2, text.sequences) * text.tokens * text.blocks
    return Passes(read=told + text.size * (measured * text.blocks + text.blocks - 1))


def of_method(method, options: dict, text: Text) -> Passes:
    """What a method's module has pass under its `options`, defaults and all, where there is text."""
    if hasattr(method, "passes"):
        return method.passes(options, text)
    return walked(text) if hasattr(method, "Statistics") else Passes()


def planned(settings: dict, shape: dict, sequences: int, tokens: int, written: bool) -> Passes:
    """What making a topology of a model of a `shape` (`counts.matrices`) has pass, where it reads text.

    settings: {method, pattern, sparsity, allocation, counts, and what the method's SCHEMA has}; sequences, tokens: of
    the calibration rows; written: whether the model writes them itself, token by token.
    """
    method, allocation, _ = agreed(settings)
    shared = ("method", "pattern", "sparsity", "allocation", "counts", "calibration")
    own = {key: value for key, value in settings.items() if key not in shared}
    options = options_of(f"method {settings['method']}", method.SCHEMA, own)
    sizes, pattern = matrices(shape), settings["pattern"]
    kept = 0 if pattern == "structured" else kept_total(sizes, pattern, settings.get("sparsity"))
    text = Text(sequences, tokens, shape["layers"], kept_total(sizes, "dense"), kept)
    total = of_method(method, options, text)
    if registry.load("topologies.allocations", allocation).NEEDS == "inputs":
        total += walked(text)
    return total + Passes(written=sequences * (tokens - 1)) if written else total
