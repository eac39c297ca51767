"""A contrast with one block, one position or one task left out.

It shows how much the estimate depends on a single one. It is not a test, and none of these estimates replaces the
first. Leaving out a task or a position changes the estimand: the mean is over the others.
"""

import math

import numpy as np

from sparse_continual.statistics import contrasts as rules
from sparse_continual.statistics import linear, metrics
from sparse_continual.statistics.summary import described
from sparse_continual.statistics.tables import SENSITIVITY


def sensitivity_table(entries, tasks: dict, contrasts: list[dict], level: float, bases: dict[str, str]):
    """One row per contrast, primary metric and what is left out (none, block, position or task).

    entries: matrices.Scores of the stream; tasks: (condition, block) -> names of its tasks by position;
    bases: block -> base. A position or task that adds nothing to the metric has no row.
    """
    scores = {(e.condition, e.block): e.raw for e in entries if e.part == "all"}
    rows = []
    for metric in metrics.PRIMARY:
        terms = {run: linear.terms(metric, R) for run, R in scores.items()}
        for contrast in contrasts:
            if contrast["estimand"] == "load":
                continue
            for left_out, which, by_block in _left_out(terms, tasks, contrast):
                if by_block:
                    cells, _ = described(by_block, bases, level)
                    shown = [cells[c] for c in ("n", "mean", "lower", "upper")]
                    rows.append((contrast["name"], contrast["estimand"], metric, left_out, which, *shown))
    return SENSITIVITY.frame(rows)


def _left_out(terms: dict, tasks: dict, contrast: dict):
    """(left_out, which, {block: difference}) for every block, position and task that can be left out."""
    arms = rules.arms(contrast)
    blocks = [block for condition, block in terms if condition == arms[0]]
    positions = range(1, 1 + max(len(terms[arms[0], block]) for block in blocks))
    names = dict.fromkeys(name for block in blocks for name in tasks[arms[0], block])
    everything = _differences(terms, contrast, blocks)
    yield "none", "", everything
    for block in blocks if len(blocks) > 1 else ():
        yield "block", block, {b: d for b, d in everything.items() if b != block}
    for position in positions:
        without = _without(terms, lambda run, p=position: np.arange(1, len(terms[run]) + 1) == p)
        if without is not None:
            yield "position", str(position), _differences(without, contrast, blocks)
    for name in names:
        without = _without(terms, lambda run, n=name: np.array(tasks[run]) == n)
        if without is not None:
            yield "task", name, _differences(without, contrast, blocks)


def _without(terms: dict, out) -> dict | None:
    """The terms with those marked by `out(run)` undefined; None if none of them had a value."""
    marked = {run: out(run) for run in terms}
    if not any(np.any(marked[run] & ~np.isnan(of_run)) for run, of_run in terms.items()):
        return None
    return {run: np.where(marked[run], np.nan, of_run) for run, of_run in terms.items()}


def _differences(terms: dict, contrast: dict, blocks: list[str]) -> dict[str, float]:
    """block -> difference of the means of the arms' terms; blocks without remaining terms are left out."""
    values = {arm: {block: _mean(terms[arm, block]) for block in blocks} for arm in rules.arms(contrast)}
    return rules.differences(values, contrast["plus"], contrast["minus"])


def _mean(terms) -> float:
    left = terms[~np.isnan(terms)]
    return float(left.mean()) if len(left) else math.nan
