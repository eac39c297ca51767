"""Forgetting against learning over the grid of learning rates, and contrasts at equal learning.

The learning rate moves forgetting far more than topology does, so a contrast at each arm's tuned rate
may only compare how much the arms learnt. Here every arm is a curve: the straight lines between
neighbouring rates of its grid, in one tuning block, on validation scores. The tuned point lies on it.

A contrast at equal learning uses the level that all its arms reach at their tuned rates. The arm that learns least
stays at its tuned point. Every other arm is slowed down along its own curve, from its tuned rate towards smaller ones,
to the first point with that level of learning. Forgetting is compared there. A curve need not be monotone: points
beyond the first are ignored. If an arm learns more than that level even at its smallest rate, it has no such point, and
the block has no value. The same is done with validation loss. Limit: tuning blocks are few and streams are short, so
this compares shapes, not small differences; it is a check on the contrasts, not a test.
"""

import math

import numpy as np

from sparse_continual.statistics import contrasts as rules
from sparse_continual.statistics import metrics, paired
from sparse_continual.statistics.summary import describe
from sparse_continual.statistics.tables import FRONTIER, FRONTIER_BLOCKS, FRONTIER_CONTRASTS

AXES = {"learning": "learning_accuracy", "validation_loss": "validation_loss"}


def frontier_table(trials):
    """Learning, validation loss and forgetting of every rate on every tuning block, chosen ones marked.

    trials: trials.csv as a DataFrame. Learning and loss are means over tasks right after their
    training. Forgetting is empty where a tuning stream has a single task.
    """
    rows = []
    keys = ["condition", "learning_rate", "block", "chosen"]
    for key, group in trials[trials.position > 0].groupby(keys, sort=False):
        T = int(group.position.max())
        R = np.full((T + 1, T), np.nan)
        R[group.after.to_numpy(), group.position.to_numpy() - 1] = group.score
        R[0] = np.nan_to_num(R[0])  # trials may lack the row before the stream, which no column here reads
        loss = float(group.loss[group.after == group.position].mean())
        learnt = float(np.diag(R[1:]).mean())
        rows.append((*key, learnt, loss, metrics.forgetting(R) if T > 1 else math.nan))
    return FRONTIER.frame(rows)


def slowed(x, y, value: float) -> float:
    """y where the curve through the points (x, y) first comes down to `value`, going back from its last point.

    x, y: one number per learning rate, from the smallest to the tuned one. Returns the last y if its x is already at
    most `value`; NaN if x stays above `value` at all rates.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    at = len(x) - 1
    if x[at] <= value:
        return float(y[at])
    while at > 0 and x[at - 1] > value:
        at -= 1
    if at == 0:
        return math.nan
    share = (value - x[at - 1]) / (x[at] - x[at - 1])
    return float(y[at - 1] + share * (y[at] - y[at - 1]))


def block_table(frontier, contrasts: list[dict]):
    """The difference in forgetting of every tuning block: contrast, at, block, value, difference.

    At `tuned` each arm is at its own chosen rate, and `value` is the learning accuracy of the plus side minus that of
    the minus side; at `learning` and `validation_loss`, `value` is the common level. Levels of one arm, load contrasts
    and contrasts of arms that were not tuned have no rows.
    """
    rows = []
    for contrast in contrasts:
        arms = rules.arms(contrast)
        if rules.is_level(contrast) or contrast["estimand"] == "load":
            continue
        curves = {arm: _curves(frontier[frontier.condition == arm]) for arm in arms}
        for block in curves[arms[0]]:
            if not all(block in curves[arm] for arm in arms):
                continue
            of_block = {arm: curves[arm][block] for arm in arms}
            tuned = {arm: curve.iloc[-1] for arm, curve in of_block.items()}
            forgotten = {arm: point.forgetting for arm, point in tuned.items()}
            learnt = {arm: point.learning_accuracy for arm, point in tuned.items()}
            rows.append((contrast["name"], "tuned", block, _sum(learnt, contrast), _sum(forgotten, contrast)))
            for at, axis in AXES.items():
                sign = 1 if at == "learning" else -1  # less loss is more learning
                value = min(sign * tuned[arm][axis] for arm in arms)
                forgotten = {a: slowed(sign * c[axis], c.forgetting, value) for a, c in of_block.items()}
                rows.append((contrast["name"], at, block, sign * value, _sum(forgotten, contrast)))
    return FRONTIER_BLOCKS.frame(rows)


def frontier_contrasts(frontier, blocks, contrasts: list[dict], level: float):
    """Mean over tuning blocks of the rows of `block_table`, with a t interval and a note on limits."""
    rows = []
    for contrast in contrasts:
        rows_of_contrast = blocks[blocks.contrast == contrast["name"]]
        for at, group in rows_of_contrast.groupby("at", sort=False):
            values = group.difference.dropna().to_numpy()
            notes = _limits(frontier[frontier.condition.isin(rules.arms(contrast))], at)
            if len(values) < len(group):
                missing = ", ".join(group.block[group.difference.isna()])
                notes.append(f"no common level on {missing}: an arm learns more at its smallest rate")
            if len(values) == 1:
                notes.append("a single tuning block: no interval")
            elif len(values) and paired.constant(values):
                notes.append("no variance: the same value in all tuning blocks, so no interval")
            rows.append(
                (
                    contrast["name"],
                    contrast["estimand"],
                    at,
                    *describe(values, level).values(),
                    "; ".join(notes),
                )
            )
    return FRONTIER_CONTRASTS.frame(rows)


def _curves(arm) -> dict:
    """block -> points of one arm by rate, up to the chosen one; without blocks that have no forgetting."""
    curves = {}
    for block, points in arm.dropna(subset=["forgetting"]).groupby("block", sort=False):
        points = points.sort_values("learning_rate", kind="stable")
        chosen = points.learning_rate[points.chosen]
        if len(chosen):
            curves[block] = points[points.learning_rate <= chosen.iloc[0]]
    return curves


def _sum(values: dict[str, float], contrast: dict) -> float:
    return sum(values[a] for a in contrast["plus"]) - sum(values[a] for a in contrast["minus"])


def _limits(frontier, at: str) -> list[str]:
    """Notes on the curves of some arms: single rates, curves that turn back."""
    if at == "tuned":
        return []
    single, turning = [], []
    for arm, points in frontier.groupby("condition", sort=False):
        curves = _curves(points).values()
        if all(len(curve) == 1 for curve in curves):
            single.append(arm)
        sign = 1 if at == "learning" else -1
        if any((np.diff(sign * curve[AXES[at]]) < 0).any() for curve in curves):
            turning.append(arm)
    notes = [f"no rate below the chosen one: {', '.join(single)}"] if single else []
    return notes + ([f"does not rise throughout: {', '.join(turning)}"] if turning else [])
