"""What a planned number of blocks can and cannot detect.

Power of the paired t test and of two one-sided t tests, for n independent differences with a normal spread. Both are
numerical integrals over the chi distribution of the sample SD, valid from two blocks on and at any level. The
noncentral t of scipy 1.17, and with it the solver of statsmodels, is wrong at n = 3 and 4 with small levels (4.3 SD
instead of 5.7 at n = 3, level .05 / 3).

Effects, margins and SDs have the unit of the differences; `level` is the error rate of one test.
"""

import math

import numpy as np

from sparse_continual.statistics.paired import smallest_p

MOST_BLOCKS = 100_000


def t_power(n: int, effect: float, sd: float, level: float) -> float:
    """Power of a two-sided t test at `level` when the true mean difference is `effect`."""
    from scipy.special import ndtr, stdtrit

    shift = abs(effect) / sd * math.sqrt(n)
    critical = -float(stdtrit(n - 1, level / 2))
    bends = [(shift + far) / critical for far in (-6, 0, 6)]
    return _expected(lambda s: ndtr(shift - critical * s) + ndtr(-shift - critical * s), n - 1, bends)


def tost_power(n: int, sd: float, margin: float, level: float, true: float = 0.0) -> float:
    """Power of two one-sided t tests within +-margin at `level` when the true mean difference is `true`.

    NaN below two blocks or without an SD.
    """
    from scipy.special import ndtr, stdtrit

    if not sd > 0 or n < 2:
        return math.nan
    room, shift = margin / sd * math.sqrt(n), abs(true) / sd * math.sqrt(n)
    critical = -float(stdtrit(n - 1, level))

    def passes(s):
        left = np.maximum(room - critical * s, 0)  # greatest distance of the mean from 0, in standard errors
        return ndtr(left - shift) - ndtr(-left - shift)

    return _expected(passes, n - 1, [(room - shift) / critical, room / critical])


def gate_power(n: int, sd: float, margin: float, level: float) -> float:
    """Power of the learning gate, a one-sided t test of "no less, up to `margin`" at `level`, for equal learning.

    NaN below two blocks or without an SD.
    """
    from scipy.special import ndtr, stdtrit

    if not sd > 0 or n < 2:
        return math.nan
    room, critical = margin / sd * math.sqrt(n), -float(stdtrit(n - 1, level))
    return _expected(
        lambda s: ndtr(room - critical * s), n - 1, [(room + far) / critical for far in (-6, 0, 6)]
    )


def gated_tost_power(n: int, sd: float, margin: float, level: float, gate: tuple | None) -> float:
    """Power of a claim of equivalence: of its two tests, and of the learning gate on both sides.

    gate: (SD of the difference in learning, its margin), None for a claim without a gate. True differences are 0. The
    two differences are treated as independent, so the product is too low if they are positively related. NaN as
    `tost_power`; differences in learning without any spread always pass.
    """
    passes = tost_power(n, sd, margin, level)
    return passes if gate is None or gate[0] == 0 else passes * tost_power(n, *gate, level)


def detectable(n: int, sd: float, level: float, power: float = 0.8) -> float:
    """Smallest true mean difference that a two-sided t test at `level` finds with `power`.

    NaN below two blocks or without an SD.
    """
    from scipy.optimize import brentq

    if not sd > 0 or n < 2:
        return math.nan
    highest = 1.0
    while t_power(n, highest, 1.0, level) < power:
        highest *= 2
    return sd * brentq(lambda size: t_power(n, size, 1.0, level) - power, 0, highest, xtol=1e-6)


def blocks_for(effect: float, sd: float, level: float, power: float = 0.8) -> int | None:
    """Fewest blocks with which a two-sided t test at `level` finds `effect` with `power`.

    None without an SD, and if 100,000 blocks do not suffice.
    """
    if not sd > 0:
        return None
    low, high = 1, 2
    while t_power(high, effect, sd, level) < power:
        low, high = high, 2 * high
        if low > MOST_BLOCKS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if t_power(middle, effect, sd, level) >= power else (middle, high)
    return high


def upper_sd(sd: float, n: int, confidence: float = 0.8) -> float:
    """One-sided upper confidence limit of the SD of normal differences; the sample of n gave the SD `sd`.

    By chi-square with n - 1 degrees of freedom; NaN below two. A study planned with the pilot's own SD has too little
    power in more than half of all cases: Browne, Statistics in Medicine 14 (1995) 1933.
    """
    from scipy.special import chdtri

    if n < 2:
        return math.nan
    return sd * math.sqrt((n - 1) / float(chdtri(n - 1, confidence)))


def exact_reaches(n: int, level: float) -> bool:
    """Whether the two-sided sign-flip test of n blocks can be significant at `level`."""
    return smallest_p(n) < level


def plan(
    n: int, sd: float, margin: float, effect: float, level: float, tests: int, gate: tuple | None = None
) -> dict:
    """What n blocks can show about one of `tests` claims that are tested together at `level`.

    gate: (SD of the difference in learning, its margin) if the claim has a learning gate. `detectable`,
    `blocks_for_effect`, `tost_power` and `gate_power` are at level / tests: Holm's first step, the hardest one.
    `detectable` and `blocks_for_effect` are for the test alone: they hold if `gate_power` (NaN without a gate) is near
    1. `tost_power` includes the gate on both sides. `exact_reaches` is at `level`: the sign-flip test is a condition of
    every claim and is never adjusted, so if it is false nothing can be shown, for any number of tests.
    """
    each = level / tests
    return {
        "n": n,
        "sd": sd,
        "level": level,
        "tests": tests,
        "detectable": detectable(n, sd, each),
        "blocks_for_effect": blocks_for(effect, sd, each),
        "effect": effect,
        "margin": margin,
        "tost_power": gated_tost_power(n, sd, margin, each, gate),
        "gate_power": gate_power(n, *gate, each) if gate else math.nan,
        "exact_reaches": exact_reaches(n, level),
    }


def _expected(function, df: int, cuts: list) -> float:
    """Mean of function(s) over s = chi / sqrt(df), the sample SD in units of the true one.

    By Gauss-Legendre quadrature between `cuts`, where the function bends sharply; within 1e-8.
    """
    from scipy.special import gammainccinv, gammaincinv, gammaln

    half = df / 2
    ends = [math.sqrt(float(inverse(half, 1e-16)) / half) for inverse in (gammaincinv, gammainccinv)]
    edges = np.array([ends[0], *np.clip(sorted(cuts), *ends), ends[1]])
    nodes, weights = np.polynomial.legendre.leggauss(100)
    s = edges[:-1, None] + np.diff(edges)[:, None] * (nodes + 1) / 2
    log_density = math.log(2) + half * math.log(half) - gammaln(half) + (df - 1) * np.log(s) - half * s**2
    return float((np.diff(edges) / 2) @ ((np.exp(log_density) * function(s)) @ weights))
