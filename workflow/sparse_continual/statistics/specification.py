"""The specification curve: a contrast under every secondary choice that could have been made instead.

Metric (forgetting as a difference, as a share of the gain, from the best score), scale (raw, chance-corrected, bits),
part of the items, and mean or median over units. Exploratory: it shows whether a sign depends on a choice. One row is
the primary choice; the others are not tested, and they are not independent. Steegen et al. 2016, Perspectives on
Psychological Science 11(5), 702-712.
"""

import math

import numpy as np

from sparse_continual.statistics import compare, metrics, paired
from sparse_continual.statistics import contrasts as rules
from sparse_continual.statistics.tables import SPECIFICATION

METRICS = ("forgetting", "fraction_lost", "forgetting_max")


def specification_table(indexed: dict, contrasts: list[dict], level: float, bases: dict[str, str]):
    """One row per contrast and combination of choices; `mean` is a mean or a median, as the column `estimator` says.

    indexed: metrics by `compare.index`. Levels and load contrasts are left out.
    """
    parts = list(dict.fromkeys(part for part, _, _ in indexed))
    rows = []
    for contrast in contrasts:
        if rules.is_level(contrast) or contrast["estimand"] == "load":
            continue
        for metric in METRICS:
            for scale in metrics.SCALES:
                for part in parts:
                    by_block = compare.differences(indexed, contrast, metric, scale, part)
                    units = rules.units(by_block, bases)[0]
                    for estimator, (value, interval) in _ESTIMATORS.items() if len(units) else ():
                        primary = (metric, scale, part, estimator) == ("forgetting", "raw", "all", "mean")
                        rows.append(
                            (contrast["name"], contrast["estimand"], metric, scale, part, estimator)
                            + (len(units), float(value(units)), *interval(units, level), primary)
                        )
    return SPECIFICATION.frame(rows)


def median_interval(values, level: float) -> tuple[float, float]:
    """The narrowest pair of order statistics that covers the median with at least 1 - level, for any
    distribution; (nan, nan) where even the smallest and the largest value do not (n < 6 at level .05).
    """
    from scipy import stats

    x = np.sort(np.asarray(values, dtype=float))
    below = int(stats.binom.ppf(level / 2, len(x), 0.5))  # P(X < below) <= level / 2 <= P(X <= below)
    if below < 1:
        return math.nan, math.nan
    return float(x[below - 1]), float(x[len(x) - below])


_ESTIMATORS = {"mean": (np.mean, paired.interval), "median": (np.median, median_interval)}
