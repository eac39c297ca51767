"""How many tokens pass through a model while a topology is made of it, by its settings and the model's shape alone.

Counted are the tokens that enter a decoder block, and those whose gradients come back through it. A method says its own
by `passes(options, text)`, from the `Text` that it is given: it imports nothing of this file, whose edits make no
topology anew. Of a method that does not, it is what `pruning` has it read: a walk over the blocks where it has
`statistics`, nothing else. An allocation that looks at inputs adds a walk of its own.

Limits: rows count at their greatest length, as if all had it, although a walk sends two rows of every further length
through the model, which may be more; a pass that stops inside a block, because no more is asked, counts whole; what a
method computes besides (factors, updates, products of adapters) is not in it.
"""

from dataclasses import astuple, dataclass

from sparse_continual import registry
from sparse_continual.pruning.check import agreed, options_of
from sparse_continual.topologies.counts import kept_total, matrices


@dataclass(frozen=True)
class Passes:
    """Tokens: `trained`, forward and backward through the whole model; `written`, forward alone; through decoder blocks
    alone, without the head, each block's added up: `read`, forward, and `learnt`, backward.
    """

    trained: int = 0
    written: int = 0
    read: int = 0
    learnt: int = 0

    def __add__(self, other):
        return Passes(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Text:
    """What is read, and of what model: `sequences` rows of `tokens`; decoder `blocks`; `weights` that may be pruned,
    of which `kept` stay (0 where a method takes whole heads and channels); `readings`: groups of a block's matrices
    that read the very same, a Llama's q, k, v; o; gate, up; down.
    """

    sequences: int
    tokens: int
    blocks: int
    weights: int
    kept: int
    readings: int = 4

    @property
    def size(self) -> int:
        """Tokens of all rows."""
        return self.sequences * self.tokens

    def passes(self, **tokens: int) -> Passes:
        """`Passes` of these tokens and no others."""
        return Passes(**tokens)

    def walked(self, measured: int = 1) -> Passes:
        """A walk (models/blockwise.py) on which every block is measured so many times.

        Two rows tell the blocks' other arguments; every block but the last is run once more for what the next reads.
        """
        told = min(2, self.sequences) * self.tokens * self.blocks
        return Passes(read=told + self.size * (measured * self.blocks + self.blocks - 1))

    def of(self, name: str, options: dict) -> Passes:
        """What the method `name` has pass; `options`: those of its own that are not its defaults."""
        method = registry.load("pruning.methods", name)
        if method.passes:
            schema = registry.schema("pruning.methods", name)
            return method.passes(options_of(f"method {name}", schema, options), self)
        return self.walked() if method.statistics else Passes()


def planned(settings: dict, shape: dict, sequences: int, tokens: int, written: bool) -> Passes:
    """What making a topology of a model of a `shape` (`counts.matrices`) has pass, where it reads text.

    settings: {method, pattern, sparsity, allocation, counts, on_sparse, and what the method's SCHEMA has}; sequences,
    tokens: of the calibration rows; written: whether the model writes them itself, token by token.
    """
    _, allocation, _ = agreed(settings)
    shared = ("method", "pattern", "sparsity", "allocation", "counts", "on_sparse", "calibration")
    own = {key: value for key, value in settings.items() if key not in shared}
    sizes, pattern = matrices(shape), settings["pattern"]
    kept = 0 if pattern == "structured" else kept_total(sizes, pattern, settings.get("sparsity"))
    text = Text(
        sequences, tokens, shape["layers"], kept_total(sizes, "dense"), kept, *_readings(shape, tokens)
    )
    total = text.of(settings["method"], own)
    if registry.load("pruning.allocations", allocation).needs == "inputs":
        total += text.walked()
    return total + Passes(written=sequences * (tokens - 1)) if written else total


def _readings(shape: dict, tokens: int) -> tuple[int, ...]:
    """(readings of a block,) where they were counted with the FLOPs of rows of `tokens`; else ()."""
    found = (shape.get("counted") or {}).get("flops", {}).get(str(tokens))
    return (found["readings"],) if isinstance(found, dict) else ()
