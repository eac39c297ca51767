"""The learning gate: a statement about forgetting needs a side that is shown to learn no less, up to a margin.

A model that learns nothing forgets nothing. So a one-sided t test must show that the side favoured by a statement
learnt at most the margin less than the other side.
"""

from dataclasses import dataclass

from sparse_continual.statistics import paired
from sparse_continual.statistics.metrics import METRICS
from sparse_continual.tables import true

LEARNING = "learning_accuracy"
# Metrics about learning itself.
UNGATED = frozenset(name for name, metric in METRICS.items() if metric.gate == "none")
# The sign of a difference that favours the plus side, for metrics that learning less improves.
KEEPS_MORE = {
    name: 1 if metric.better == "more" else -1
    for name, metric in METRICS.items()
    if metric.gate == "favoured"
}


@dataclass(frozen=True)
class Side:
    """One side against the other: lower bound of its learning minus the other's, p of the test, whether it passes."""

    bound: float
    p: float
    passed: bool


def sides(learning, level: float, margin: float) -> dict[str, Side]:
    """plus and minus -> `Side`, from differences in learning (plus minus minus) by unit.

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
    """The side that must not have learnt less: the side that a difference of this `sign` favours.

    For metrics that learning less does not improve, this is always the plus side.
    """
    return "minus" if KEEPS_MORE.get(metric, 0) == -sign else "plus"


def other(metric: str, side: str) -> str:
    """The side favoured by the opposite difference, if `side` is the favoured one."""
    if metric not in KEEPS_MORE:
        return side
    return "minus" if side == "plus" else "plus"


def learnt(row: dict, side: str) -> bool:
    """Whether the bounds in a row of claims.csv or contrasts.csv show that `side` learnt at most the margin less.

    contrasts.csv has only the lower bound; the t bounds of the two sides have equal distances from the mean.
    """
    if side == "plus":
        return bool(row["learning_lower"] > -row["margin"])
    upper = row.get("learning_upper", 2 * row["learning_difference"] - row["learning_lower"])
    return bool(upper < row["margin"])


def passed(row: dict) -> bool:
    """Whether the side favoured by the estimate in a row of contrasts.csv passes its gate.

    The column gate_passed refers to the plus side.
    """
    side = favoured(row["metric"], 1 if row["mean"] > 0 else -1)
    if row["estimand"] == "level" or side == "plus":
        return true(row["gate_passed"])
    return learnt(row, side)
