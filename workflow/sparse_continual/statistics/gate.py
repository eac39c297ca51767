"""The learning gate: a statement about forgetting needs a side that is shown to learn no less, up to a margin.

A model that learns nothing forgets nothing. So the side that a statement favours must be shown, by a one-sided t test,
to have learnt at most the margin less than the other side.
"""

from dataclasses import dataclass

from sparse_continual.statistics import paired
from sparse_continual.statistics.metrics import METRICS
from sparse_continual.statistics.tables import true

LEARNING = "learning_accuracy"
# Metrics about learning itself.
UNGATED = frozenset(name for name, metric in METRICS.items() if metric.gate == "none")
# Which sign of a difference means that the plus side forgets less, where learning less alone would do it.
KEEPS_MORE = {
    name: 1 if metric.better == "more" else -1
    for name, metric in METRICS.items()
    if metric.gate == "favoured"
}


@dataclass(frozen=True)
class Side:
    """One side against the other: lower bound of its learning less the other's, the test's p, whether it passes."""

    bound: float
    p: float
    passed: bool


def sides(learning, level: float, margin: float) -> dict[str, Side]:
    """plus and minus -> `Side`, from differences in learning (plus less minus) by unit.

    level: one-sided; margin: a share, above 0.
    """
    gates = {}
    for name, difference in (("plus", learning), ("minus", -learning)):
        bound = paired.lower_bound(difference, level)
        gates[name] = Side(bound, paired.above(difference, -margin), bool(bound > -margin))
    return gates


def applies(metric: str, level: bool) -> bool:
    """Whether a statement on `metric` has a gate; level: whether its contrast is the level of one arm."""
    return metric not in UNGATED and not level


def favoured(metric: str, sign: int) -> str:
    """The side that must not have learnt less: the one that a difference of this `sign` says keeps more.

    Metrics that learning less does not improve leave it at the plus side.
    """
    return "minus" if KEEPS_MORE.get(metric, 0) == -sign else "plus"


def passed(row: dict) -> bool:
    """Whether the side that the estimate in a row of contrasts.csv favours passes its gate.

    The table has the plus side's gate; the t bounds of the two sides lie equally far from the mean.
    """
    if row["estimand"] == "level" or favoured(row["metric"], 1 if row["mean"] > 0 else -1) == "plus":
        return true(row["gate_passed"])
    upper = 2 * row["learning_difference"] - row["learning_lower"]
    return bool(upper < row["margin"])
