"""Long streams: what a run still knows after t tasks, and whether its returns diminish.

Retained bits after task t, of the tasks trained by then, beyond what was known before the stream:

    K(t) = sum over j <= t of items_j (I(R[t,j]) - I(R[0,j]))
    I(s) = s log2(s / c) + (1 - s) log2((1 - s) / (1 - c)) where s > c, else 0

I is the information of one answer about the right one, if right answers have the share s and guesses would have the
chance c: the capacity of the symmetric channel over 1 / c answers, and the least information that such a score needs
(Fano). A task known by heart has log2(1 / c) bits an item. The loss (as in the bits of Allen-Zhu and Li, arXiv
2404.05405) is not used, because forgetting makes a model confidently wrong: its loss then exceeds that of guessing
while many answers are still right. Named parts of a task are added up, each with its own chance. Bits count answers to
the test items, not weights: what answers items of several tasks counts in each. Sampling noise adds less than a bit a
task.

Returns diminish if less is kept, or learnt, per task late in the stream than early. Per block, the least-squares slope
of a cumulative curve over its last third is compared with that over its first; per arm, the ratio of their means over
blocks. The curves are K(t) itself, and the running sums of learning, R[t,t], and of plasticity, R[t,t] - R[t-1,t], the
gain from training on task t. 1 is steady; an interval below 1 shows diminishing returns, one above 1 - d refutes a fall
by more than d.

The interval of the ratio is Fieller's (J. R. Stat. Soc. B 16 (1954) 175): all r for which the t interval of (late - r
early) over units contains 0. Its two ends have equal errors, 2.5 % each. Delta and jackknife intervals do not: their
upper ends lie below the truth in up to 6 %, which would show diminishing returns where there are none (simulated in
tests/statistics/test_retention.py; with exponentially skewed slopes none of the three keeps to 2.5 % at ten units). If
the early slope may be zero, the interval is unbounded, and none is given.
"""

import math

import numpy as np

from sparse_continual.statistics import contrasts as rules
from sparse_continual.statistics import paired
from sparse_continual.statistics.tables import RETENTION, SLOPES

QUANTITIES = ("retained_bits", "learning", "plasticity")


def information(score, chance):
    """Bits of information of an answer about the right one, elementwise: I(s) above; 0 at or below chance."""
    s, c = np.broadcast_arrays(np.asarray(score, dtype=float), np.asarray(chance, dtype=float))
    right, wrong = np.zeros(s.shape), np.zeros(s.shape)
    np.log2(s / c, out=right, where=s > c)
    np.log2((1 - s) / (1 - c), out=wrong, where=(s > c) & (s < 1))
    return s * right + (1 - s) * wrong


def retained(scores, items, chance) -> np.ndarray:
    """K(t) in bits, float[T + 1], from scores (T + 1, T), items (T,) and chance (T,) of one run."""
    R = np.asarray(scores, dtype=float)
    gained = np.asarray(items) * (information(R, chance) - information(R[0], chance))
    return np.array([gained[t, :t].sum() for t in range(len(R))])


def retention_table(scores):
    """K(t), learning and plasticity after every task of every run, from scores.csv as a DataFrame.

    If every task has named parts, bits are summed over them; otherwise they are those of all items.
    """
    stream = scores[scores.position > 0]
    rows = []
    for (condition, block), run in stream.groupby(["condition", "block"], sort=False):
        parts = dict(list(run.groupby("part", sort=False)))
        whole = parts.pop("all")
        R = _matrix(whole, "score")
        cut = bool(parts) and sum(len(part) for part in parts.values()) == len(parts) * R.size
        held = sum(_held(part) for part in (parts.values() if cut else [whole]))
        for t in range(1, len(R)):
            learnt = R[t, t - 1]
            rows.append((condition, block, t, held[t], learnt, learnt - R[t - 1, t - 1]))
    return RETENTION.frame(rows)


def slopes(curve) -> tuple[float, float]:
    """(early, late) least-squares slopes per task of a curve over 0..T: over its first and its last third.

    A third holds T // 3 steps; NaN below three tasks.
    """
    y = np.asarray(curve, dtype=float)
    third = (len(y) - 1) // 3
    if third < 1:
        return math.nan, math.nan
    x = np.arange(third + 1) - third / 2
    return float(x @ y[: third + 1] / (x @ x)), float(x @ y[-third - 1 :] / (x @ x))


def ratio_interval(late, early, level: float) -> tuple[float, float]:
    """Fieller's interval of mean(late) / mean(early) at confidence 1 - level, from one pair per unit.

    (nan, nan) for one unit, and if it is unbounded: the t interval of the mean of `early` contains 0.
    """
    from scipy.special import stdtrit

    late, early = np.asarray(late, dtype=float), np.asarray(early, dtype=float)
    n = len(late)
    if n < 2:
        return math.nan, math.nan
    S = np.cov(late, early) * stdtrit(n - 1, 1 - level / 2) ** 2 / n
    a = early.mean() ** 2 - S[1, 1]
    b = late.mean() * early.mean() - S[0, 1]
    c = late.mean() ** 2 - S[0, 0]
    if a <= 1e-12 * early.mean() ** 2:
        return math.nan, math.nan
    root = math.sqrt(max(b * b - a * c, 0.0))
    return (b - root) / a, (b + root) / a


def slope_table(retention, level: float, bases: dict[str, str]):
    """Late over early slopes of every arm and quantity, with intervals over units.

    Simultaneous intervals hold for all arms of a quantity together (Bonferroni). Unit and averaging are those of
    `contrasts.units`.
    """
    rows, arms = [], retention.condition.nunique()
    for condition, of_condition in retention.groupby("condition", sort=False):
        runs = {block: run.sort_values("after") for block, run in of_condition.groupby("block", sort=False)}
        for quantity in QUANTITIES:
            by_block = {block: slopes(_curve(run, quantity)) for block, run in runs.items()}
            early, late = (rules.units({b: s[i] for b, s in by_block.items()}, bases)[0] for i in (0, 1))
            rows.append((condition, quantity, *_ratio(late, early, level, arms)))
    return SLOPES.frame(rows)


def _ratio(late, early, level: float, arms: int) -> tuple:
    """(n, ratio, lower, upper, simultaneous_lower, simultaneous_upper, note)."""
    nothing = (math.nan,) * 5
    if np.isnan(early).any():
        return len(early), *nothing, "fewer than three tasks: no thirds to compare"
    if early.mean() < 1e-12:
        return len(early), *nothing, "nothing was gained in the first third: no ratio"
    single, wide = ratio_interval(late, early, level), ratio_interval(late, early, level / arms)
    note = ""
    if len(early) == 1:
        note = "a single unit: no interval"
    elif paired.constant(late) and paired.constant(early):
        single = wide = (math.nan, math.nan)
        note = "no variance: the same slopes in all units, so no interval"
    elif math.isnan(single[0]):
        note = "the early slope is not distinguished from zero: the interval of the ratio is unbounded"
    elif math.isnan(wide[0]):
        note = "the simultaneous interval is unbounded"
    return len(early), float(late.mean() / early.mean()), *single, *wide, note


def _curve(run, quantity: str) -> np.ndarray:
    """The cumulative curve over 0..T of one run."""
    values = run[quantity].to_numpy()
    return np.r_[0.0, values if quantity == "retained_bits" else np.cumsum(values)]


def _matrix(rows, column: str) -> np.ndarray:
    """(T + 1, T) of a column of one run and part."""
    matrix = np.full((int(rows.position.max()) + 1, int(rows.position.max())), np.nan)
    matrix[rows.after.to_numpy(), rows.position.to_numpy() - 1] = rows[column]
    return matrix


def _held(part) -> np.ndarray:
    return retained(_matrix(part, "score"), _matrix(part, "items")[0], _matrix(part, "chance")[0])
