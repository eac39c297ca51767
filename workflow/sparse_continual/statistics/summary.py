"""Means with their intervals: of every condition (summary.csv), and the cells that other tables share."""

import math

import numpy as np

from sparse_continual.statistics import contrasts, paired
from sparse_continual.statistics.tables import SUMMARY


def summary_table(values, level: float, bases: dict[str, str]):
    """Mean, SD and t interval over units of every condition, part, metric and scale.

    values: metrics.csv as a DataFrame; bases: block -> base, as in `contrasts.units`.
    """
    keys = ["condition", "part", "metric", "scale"]
    rows = []
    for key, group in values.groupby(keys, sort=False):
        by_block = dict(zip(group.block, group.value, strict=True))
        defined = {block: value for block, value in by_block.items() if not math.isnan(value)}
        cells, _ = described(defined, bases, level)
        rows.append((*key, *cells.values(), note(defined, len(by_block), bases)))
    return SUMMARY.frame(rows)


def described(by_block: dict[str, float], bases: dict[str, str], level: float) -> tuple[dict, str]:
    """({n, mean, sd, lower, upper}, unit) of one value per block; NaN for an undefined cell."""
    units, unit = contrasts.units(by_block, bases)
    return describe(units, level), unit


def describe(units, level: float) -> dict:
    """{n, mean, sd, lower, upper} of one value per unit, with the two-sided t interval."""
    n = len(units)
    mean = float(np.mean(units)) if n else math.nan
    sd = float(np.std(units, ddof=1)) if n > 1 else math.nan
    lower, upper = paired.interval(units, level) if n else (math.nan, math.nan)
    return {"n": n, "mean": mean, "sd": sd, "lower": lower, "upper": upper}


def note(defined: dict[str, float], blocks: int, bases: dict[str, str]) -> str:
    """Why an interval is empty, or which blocks it leaves out.

    found: the defined values by block; blocks: how many blocks there are.
    """
    values, unit = contrasts.units(defined, bases)
    notes = []
    if len(defined) < blocks:
        notes.append(f"not defined in {blocks - len(defined)} of {blocks} blocks")
    if len(values) == 1:
        notes.append(f"a single {unit}: no interval and no test")
    elif len(values) and paired.constant(values):
        same = "the same value" if np.any(values) else "zero"
        notes.append(f"no variance: {same} in all {len(values)} {unit}s, so no interval and no t test")
    return "; ".join(notes)
