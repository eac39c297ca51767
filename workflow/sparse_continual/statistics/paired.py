"""Tests and intervals for paired differences over blocks.

The block is the unit of replication: every function takes one difference per block, never tasks or items. Intervals are
t intervals, which keep their level from three blocks on; percentile and BCa bootstrap intervals do not. The sign-flip
test needs no normality and checks the t test. The bootstrap-t interval is for skewed differences, and equivalence is
two one-sided tests.

Every function raises ValueError for a value that is not finite: callers decide which blocks have a value.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

ENUMERATED = (
    20  # most differences for which the sign-flip test counts all signs; each further one doubles them
)
DRAWS = 200_000  # random flips for more differences: at p = .05 the standard error is .0005
AT_ONCE = 1_000_000  # signs in memory at once


def _finite(values, what: str = "differences") -> list[float]:
    """`values` as plain floats, all of them finite."""
    numbers = np.asarray(values, dtype=float).tolist()
    wrong = [value for value in numbers if not math.isfinite(value)]
    if wrong:
        raise ValueError(f"{what}: found {wrong[0]} among {len(numbers)} values, expected finite ones")
    return numbers


def constant(differences) -> bool:
    """Whether all differences are equal up to rounding, so that no t test is defined."""
    values = _finite(differences)
    low, high = min(values), max(values)
    return high - low <= 1e-12 * max(1.0, high, -low)


def interval(differences, level: float) -> tuple[float, float]:
    """Two-sided t interval of the mean at confidence 1 - level; (nan, nan) for one block or no variance."""
    n, mean, error = _moments(differences)
    if not error > 0:
        return math.nan, math.nan
    half = _quantile(1 - level / 2, n) * error
    return mean - half, mean + half


def lower_bound(differences, level: float) -> float:
    """One-sided lower t bound of the mean at confidence 1 - level.

    The mean itself if all differences are equal; NaN for one block.
    """
    n, mean, error = _moments(differences)
    if not error > 0:  # 0 without variance, NaN for one block
        return mean - error
    return mean - _quantile(1 - level, n) * error


def above(differences, bound: float) -> float:
    """One-sided p of the t test that the mean lies above `bound`.

    It is below a level exactly if `lower_bound` at that level is above `bound`. 1 for one block; 0 or 1 if all
    differences are equal.
    """
    n, mean, error = _moments(differences)
    if not error > 0:
        return 0.0 if mean - error > bound else 1.0
    return _tail((mean - bound) / error, n)


def t_test(differences) -> tuple[float, float]:
    """(t, two-sided p) of the mean against 0; (nan, nan) for one block or no variance."""
    n, mean, error = _moments(differences)
    if not error > 0:
        return math.nan, math.nan
    return mean / error, 2 * _tail(abs(mean / error), n)


def tost(differences, margin: float, level: float) -> tuple[float, float, float]:
    """(p, lower, upper) of the two one-sided t tests that the mean lies within -margin .. margin.

    p is the larger of the two one-sided p values, lower and upper the t interval at confidence
    1 - 2 level, which lies within the margin exactly where p < level. All NaN for one block or no
    variance. Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987) 657.
    """
    n, mean, error = _moments(differences)
    if not error > 0:
        return math.nan, math.nan, math.nan
    half = _quantile(1 - level, n) * error
    return _tail((margin - abs(mean)) / error, n), mean - half, mean + half


def skewed(differences) -> bool:
    """Whether the sample skewness m3 / m2**1.5 is beyond 1 in size, so that a t interval is not enough."""
    n, mean, error = _moments(differences)
    if not error > 0:
        return False
    variance = error**2 * (n - 1)  # over n
    third = math.fsum((value - mean) ** 3 for value in _finite(differences)) / n
    return abs(third) > variance**1.5


def bootstrap_t(differences, level: float, seed: int = 0, resamples: int = 9999) -> tuple[float, float]:
    """Two-sided bootstrap-t (studentised) interval of the mean at confidence 1 - level.

    (nan, nan) below five blocks, where it does not keep its level, and without variance. A resample that drew only one
    value has no spread: it counts as infinitely far out, so the interval may be open (-inf or inf) but is never too
    short. Equal arguments give equal intervals.
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 12.5.
    """
    d = np.asarray(_finite(differences))
    n = len(d)
    if n < 5 or constant(d):
        return math.nan, math.nan
    x = d - d.mean()
    share = _resamples(n, seed, resamples)
    means = share @ x
    variances = share @ x**2 - means**2
    flat = variances <= 1e-12 * np.abs(x).max() ** 2
    t = means / np.sqrt(np.where(flat, 1.0, variances) / (n - 1))
    t[flat] = np.copysign(np.inf, means[flat])
    tail = round(
        level / 2 * (resamples + 1)
    )  # rank of the quantile among resamples + 1, the same at both ends
    t = np.partition(t, (tail - 1, resamples - tail))
    _, mean, error = _moments(d)
    return float(mean - t[resamples - tail] * error), float(mean - t[tail - 1] * error)


@lru_cache(maxsize=8)
def _resamples(n: int, seed: int, resamples: int) -> np.ndarray:
    """(resamples, n) share that each of n values has in each resample of n values."""
    drawn = np.random.default_rng(seed).integers(n, size=(resamples, n))
    return np.stack([(drawn == i).sum(1) for i in range(n)], axis=1) / n


def _moments(differences) -> tuple[int, float, float]:
    """(n, mean, standard error of the mean); the error is NaN for one block and 0 without variance.

    Plain floats: for the few blocks of a study they are several times faster than arrays.
    """
    values = _finite(differences)
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2 or constant(values):
        return n, mean, 0.0 if n > 1 else math.nan
    return n, mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)


def _quantile(probability: float, n: int) -> float:
    """Quantile of the t distribution of n blocks."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, probability))


def _tail(t: float, n: int) -> float:
    """Probability beyond t in the t distribution of n blocks."""
    from scipy.special import stdtr

    return float(stdtr(n - 1, -t))


class SignFlip(NamedTuple):
    """A sign-flip test: two-sided p, the smallest p that it can reach, the standard error of p (0 where exact)."""

    p: float
    smallest: float
    error: float


def sign_flip(differences, seed: int = 0) -> SignFlip:
    """The sign-flip test of the mean: exact up to ENUMERATED differences, by DRAWS random flips beyond.

    Differences of zero cannot be flipped and so do not count. Random flips give p = (b + 1) / (DRAWS + 1), where b of
    them are at least as far from zero as the observed mean (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010)
    39); equal arguments give equal p. `scipy.stats.monte_carlo_test` draws them: for 1,000 differences its
    `permutation_test` takes eight times as long for the same p (benchmarks/sign_flip.md).
    """
    d = np.asarray(_finite(differences))
    d = d[d != 0]
    if len(d) == 0:
        return SignFlip(1.0, 1.0, 0.0)
    if len(d) > ENUMERATED:
        return _drawn(d, seed)
    half = len(d) // 2
    left, right = (np.sort(_signs(len(part)) @ part) for part in (d[:half], d[half:]))
    observed = abs(d.sum()) - 1e-9 * np.abs(d).sum()
    above = (len(right) - np.searchsorted(right, observed - left, side="left")).sum()
    p = 2 * int(above) / 2 ** len(d)
    return SignFlip(min(1.0, p), smallest_p(len(d)), 0.0)


def smallest_p(n: int) -> float:
    """The smallest p that the sign-flip test of n differences can reach."""
    return 2.0 ** (1 - n) if n <= ENUMERATED else 1 / (DRAWS + 1)


def _drawn(d: np.ndarray, seed: int) -> SignFlip:
    """The test of more differences than can be enumerated."""
    from scipy.stats import monte_carlo_test

    sizes, rng = np.abs(d), np.random.default_rng(seed)

    def flipped(size):
        bits = rng.integers(0, 256, (size[0], -(-size[1] // 8)), dtype=np.uint8)
        return np.where(np.unpackbits(bits, axis=1, count=size[1]), sizes, -sizes)

    tested = monte_carlo_test(
        d,
        flipped,
        lambda x, axis: np.abs(x.sum(axis=axis)),
        vectorized=True,
        n_resamples=DRAWS,
        batch=max(1, AT_ONCE // len(d)),
        alternative="greater",
    )
    p = float(tested.pvalue)
    return SignFlip(p, smallest_p(len(d)), math.sqrt(p * (1 - p) / DRAWS))


@lru_cache(maxsize=4)
def _signs(n: int) -> np.ndarray:
    """(2**n, n) all signs of n values."""
    return 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)


def holm(p_values) -> np.ndarray:
    """Holm's step-down adjusted p values, in the given order."""
    p = np.asarray(_finite(p_values, "p values"))
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def effect_size(differences) -> tuple[float, float]:
    """(d_z, Hedges' g): mean over SD, and the same times 1 - 3 / (4 (n - 1) - 1).

    NaN where there is no variance; Hedges' factor needs three blocks.
    """
    d = np.asarray(_finite(differences))
    if len(d) < 2 or constant(d):
        return math.nan, math.nan
    d_z = float(d.mean() / d.std(ddof=1))
    return d_z, d_z * (1 - 3 / (4 * (len(d) - 1) - 1)) if len(d) > 2 else math.nan
