"""Tests and intervals for paired differences over blocks.

The block is the unit of replication: every function takes one difference per block, never tasks or
items. Intervals are t intervals, which keep their level from three blocks on where bootstrap ones do
not; the exact sign-flip test needs no normality and is the check on the t test.
"""

import math

import numpy as np


def constant(differences) -> bool:
    """Whether all differences are equal up to rounding, so that no t test is defined."""
    d = np.asarray(differences, dtype=float)
    return bool(np.ptp(d) <= 1e-12 * max(1.0, np.abs(d).max()))


def interval(differences, level: float) -> tuple[float, float]:
    """Two-sided t interval of the mean at confidence 1 - level; (nan, nan) for one block or no variance."""
    from scipy import stats

    d = np.asarray(differences, dtype=float)
    if len(d) < 2 or constant(d):
        return math.nan, math.nan
    half = stats.t.ppf(1 - level / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return float(d.mean() - half), float(d.mean() + half)


def lower_bound(differences, level: float) -> float:
    """One-sided lower t bound of the mean at confidence 1 - level.

    The mean itself where all differences are equal; NaN for one block.
    """
    from scipy import stats

    d = np.asarray(differences, dtype=float)
    if len(d) < 2:
        return math.nan
    if constant(d):
        return float(d.mean())
    return float(d.mean() - stats.t.ppf(1 - level, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d)))


def t_test(differences) -> tuple[float, float]:
    """(t, two-sided p) of the mean against 0; (nan, nan) for one block or no variance."""
    from scipy import stats

    d = np.asarray(differences, dtype=float)
    if len(d) < 2 or constant(d):
        return math.nan, math.nan
    t = d.mean() / (d.std(ddof=1) / math.sqrt(len(d)))
    return float(t), float(2 * stats.t.sf(abs(t), len(d) - 1))


def sign_flip(differences) -> tuple[float, float]:
    """(two-sided p, smallest p that this many blocks can reach) of the exact sign-flip test of the mean.

    All 2**n signs are counted, by halves, so that n = 40 still fits. Differences of zero cannot be
    flipped and so do not count towards the smallest p.
    """
    d = np.asarray(differences, dtype=float)
    d = d[d != 0]
    if len(d) == 0:
        return 1.0, 1.0
    left, right = (_signed_sums(half) for half in np.array_split(d, 2))
    right.sort()
    observed = abs(d.sum()) - 1e-9 * np.abs(d).sum()
    above = (len(right) - np.searchsorted(right, observed - left, side="left")).sum()
    p = 2 * int(above) / 2 ** len(d)
    return min(1.0, p), 2.0 ** (1 - len(d))


def _signed_sums(values) -> np.ndarray:
    """All 2**n sums of `values` with either sign."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def holm(p_values) -> np.ndarray:
    """Holm's step-down adjusted p values, in the given order."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def effect_size(differences) -> tuple[float, float]:
    """(d_z, Hedges' g): mean over SD, and the same times 1 - 3 / (4 (n - 1) - 1).

    NaN where there is no variance; Hedges' factor needs three blocks.
    """
    d = np.asarray(differences, dtype=float)
    if len(d) < 2 or constant(d):
        return math.nan, math.nan
    d_z = float(d.mean() / d.std(ddof=1))
    return d_z, d_z * (1 - 3 / (4 * (len(d) - 1) - 1)) if len(d) > 2 else math.nan


def detectable(differences, level: float, power: float = 0.8) -> float:
    """Smallest true mean difference that a t test at `level` finds with `power`, at this n and SD.

    In units of the differences. NaN below five blocks, where the solver is known to be wrong, and
    where there is no variance.
    """
    from statsmodels.stats.power import TTestPower

    d = np.asarray(differences, dtype=float)
    if len(d) < 5 or constant(d):
        return math.nan
    size = TTestPower().solve_power(nobs=len(d), alpha=level, power=power, alternative="two-sided")
    return float(np.squeeze(size)) * float(d.std(ddof=1))
