"""Shapes of the matched dense controls: as many weights, or as many FLOPs per token, as a sparse model.

Vocabulary, tying, head size, and if possible the ratio of key-value heads and depth stay the parent's (reach is counted
in layers). The number of heads, and with it hidden_size, and intermediate_size shrink. The key-value heads' ratio
changes (to the nearest divisor), and then depth, only if nothing else fits. Among candidates within 1 % of the target,
the control has the least

    J = |e| / 0.01 + |ln((f'/h') / (f/h))| / 0.10

Ties go to the larger hidden_size, then intermediate_size. Embeddings are not matched: a narrower control has smaller
ones, as the price table shows.
"""

from dataclasses import dataclass, replace
from math import floor, log

from sparse_continual.errors import UserError
from sparse_continual.training.arithmetic import Shape, forward_flops, parameters

TOLERANCE = 0.01  # accepted relative mismatch
ASPECT = 0.35  # greatest accepted |ln| of the change of intermediate_size / hidden_size


@dataclass(frozen=True)
class Control:
    """One candidate: its shape, its amount of the matched quantity, relative error e, aspect change, J."""

    shape: Shape
    got: int
    error: float
    aspect: float
    cost: float

    @property
    def accepted(self) -> bool:
        return abs(self.error) <= TOLERANCE and abs(self.aspect) <= ASPECT

    def __str__(self) -> str:
        s = self.shape
        return (
            f"hidden_size {s.hidden_size}, intermediate_size {s.intermediate_size}, layers {s.layers}, heads "
            f"{s.heads}/{s.kv_heads} (mismatch {100 * self.error:+.2f} %, aspect {self.aspect:+.2f})"
        )


def control(parent: Shape, nonzeros: int, on: str, tokens: int = 0, head: float = 1.0) -> Control:
    """The dense control of a sparse model with `parent`'s shape and `nonzeros` kept weights.

    `on`: "nonzeros" (as many prunable weights) or "flops" (as many theoretical forward FLOPs per token on
    sequences of `tokens`, logits at the share `head` of positions).

    Raises UserError for a parent that was counted, and with the three best candidates when none is within 1 % and
    |ln aspect| <= 0.35.
    """
    if parent.counted:
        raise UserError(
            f"match on {on}: found a base of model_type {parent.family!r} that was not generated here; expected a "
            "generated Llama, whose shape can be chosen"
        )
    if on == "nonzeros":
        target, measure = nonzeros, lambda shape: shape.prunable
    elif on == "flops":
        target = forward_flops(parent, tokens, nonzeros, head)["total"]

        def measure(shape):
            return forward_flops(shape, tokens, head=head)["total"]
    else:
        raise UserError(f"match on {on!r}: expected 'nonzeros' or 'flops'")
    candidates = []
    depth = parent.layers
    for depths, same_ratio in (([depth], True), ([depth], False), ([depth - 1, depth + 1], False)):
        candidates += [c for n in depths if n for c in _candidates(parent, n, same_ratio, target, measure)]
        candidates.sort(key=lambda c: (c.cost, -c.shape.hidden_size, -c.shape.intermediate_size))
        accepted = [c for c in candidates if c.accepted]
        if accepted:
            return accepted[0]
    raise UserError(
        f"no dense control matches {target:,} {on} within {100 * TOLERANCE:g} % at an aspect within "
        f"{ASPECT:g} of the base's (hidden_size {parent.hidden_size}, intermediate_size "
        f"{parent.intermediate_size}); the three best: "
        + "; ".join(str(c) for c in candidates[:3])
        + ". Change the base's shape or the sparsity, or remove this control"
    )


def _candidates(parent: Shape, layers: int, same_ratio: bool, target: int, measure) -> list[Control]:
    """Every candidate of this depth near the target: intermediate_size within 1 %, and the two nearest.

    `same_ratio`: the head counts that keep the parent's ratio of key-value heads exactly; else the others.
    """
    step = _step(parent)
    controls = []
    for heads in range(1, parent.heads + 1):
        exact = heads * parent.kv_heads % parent.heads == 0
        if parent.hidden_size * heads % parent.heads or (exact != same_ratio and layers == parent.layers):
            continue
        hidden, pairs = parent.hidden_size * heads // parent.heads, _kv_heads(parent, heads)
        base = replace(parent, hidden_size=hidden, heads=heads, kv_heads=pairs, layers=layers)
        # Both quantities are linear in intermediate_size.
        empty = measure(replace(base, intermediate_size=0))
        slope = measure(replace(base, intermediate_size=1)) - empty
        low, high = ((target * (1 + e) - empty) / slope / step for e in (-TOLERANCE, TOLERANCE))
        middle = floor((target - empty) / slope / step)
        for multiple in range(max(1, min(floor(low), middle)), max(1, floor(high) + 1, middle + 1) + 1):
            controls.append(_rate(replace(base, intermediate_size=step * multiple), parent, target, measure))
    return controls


def _rate(shape: Shape, parent: Shape, target: int, measure) -> Control:
    got = measure(shape)
    error, aspect = got / target - 1, log(shape.aspect / parent.aspect)
    return Control(shape, got, error, aspect, abs(error) / TOLERANCE + abs(aspect) / 0.10)


def _step(parent: Shape) -> int:
    """The step of intermediate_size: finer if one step would exceed the tolerance."""
    total = parameters(parent)["total"]
    return 4 if total < 10e6 else 8 if total <= 1e9 else 128


def _kv_heads(parent: Shape, heads: int) -> int:
    """The parent's ratio of key-value heads if it divides, else the divisor of `heads` nearest to it."""
    target = heads * parent.kv_heads / parent.heads
    divisors = [n for n in range(1, heads + 1) if heads % n == 0]
    return min(divisors, key=lambda n: (abs(n - target), -n))
