"""Paired differences of every contrast, with their tests and intervals, one by one.

Nothing is adjusted or judged here: the claims decide how many tests count together. Only raw scores are tested;
corrected scores and bits are described beside them, because another scale must not be a second chance.
"""

import math

import numpy as np

from sparse_continual.statistics import contrasts as rules
from sparse_continual.statistics import gate, metrics, paired
from sparse_continual.statistics.summary import described, note
from sparse_continual.statistics.tables import CONTRASTS, DIFFERENCES


def index(values) -> dict:
    """(part, metric, scale) -> condition -> block -> value, from metrics.csv as a DataFrame."""
    indexed: dict = {}
    for row in values.itertuples(index=False):
        arms = indexed.setdefault((row.part, row.metric, row.scale), {})
        arms.setdefault(row.condition, {})[row.block] = row.value
    return indexed


def differences(
    indexed: dict, contrast: dict, metric: str, scale: str, part: str = "all"
) -> dict[str, float]:
    """block -> difference of `contrast`; empty if one of its arms lacks this metric."""
    arms = indexed.get((part, metric, scale), {})
    if not all(arm in arms for arm in rules.arms(contrast)):
        return {}
    return rules.differences(arms, contrast["plus"], contrast["minus"])


def outcomes(indexed: dict) -> list[tuple[str, str]]:
    """(metric, scale) of all items in the order of the table, the primaries on raw scores first."""
    pairs = [(metric, scale) for part, metric, scale in indexed if part == "all"]
    return sorted(dict.fromkeys(pairs), key=lambda pair: not primary(*pair))


def primary(metric: str, scale: str) -> bool:
    return metric in metrics.PRIMARY and scale == "raw"


def difference_table(indexed: dict, contrasts: list[dict], bases: dict[str, str]):
    """The paired difference of every block, for every contrast, metric and scale.

    For a load contrast, the differences on this stream alone.
    """
    rows = [
        (contrast["name"], contrast["estimand"], metric, scale, block, bases[block], difference)
        for contrast in contrasts
        for metric, scale in outcomes(indexed)
        for block, difference in differences(indexed, contrast, metric, scale).items()
    ]
    return DIFFERENCES.frame(rows)


def contrast_table(indexed: dict, contrasts: list[dict], level: float, margin: float, bases: dict[str, str]):
    """Every contrast on every metric and scale: tested on the primaries, described on the others.

    level: two-sided error rate; margin: learning margin as a share. Load contrasts are left out, because they take two
    streams. The gate asks whether the plus side is shown to learn no less than the minus side, up to the margin; a
    level has no other side and passes.
    """
    rows = []
    for contrast in contrasts:
        if contrast["estimand"] == "load":
            continue
        shared = {
            "contrast": contrast["name"],
            "estimand": contrast["estimand"],
            "plus": " + ".join(contrast["plus"]),
            "minus": " + ".join(contrast["minus"]),
            **_learning(indexed, contrast, level, margin, bases),
            "level": level,
            "margin": margin,
            "bases": bases_of(bases),
        }
        for metric, scale in outcomes(indexed):
            by_block = differences(indexed, contrast, metric, scale)
            if by_block:
                row = {**shared, "metric": metric, "scale": scale, **_row(by_block, bases, level)}
                tested = primary(metric, scale)
                row["role"] = "primary" if tested else "beside"
                rows.append(row | (tests(rules.units(by_block, bases)[0], level) if tested else {}))
    return CONTRASTS.frame([CONTRASTS.filled(row) for row in rows])


def _learning(indexed: dict, contrast: dict, level: float, margin: float, bases: dict[str, str]) -> dict:
    """{learning_difference, learning_lower, gate_passed} of a contrast's plus side."""
    if rules.is_level(contrast):
        return {"learning_difference": math.nan, "learning_lower": math.nan, "gate_passed": True}
    learning, _ = rules.units(differences(indexed, contrast, gate.LEARNING, "raw"), bases)
    plus = gate.sides(learning, level, margin)["plus"]
    return {
        "learning_difference": float(np.mean(learning)),
        "learning_lower": plus.bound,
        "gate_passed": plus.passed,
    }


def bases_of(bases: dict[str, str]) -> str:
    """How many bases the blocks start from, as a phrase."""
    count = len(set(bases.values()))
    if count == len(bases):
        return "one per block"
    return "one for all blocks" if count == 1 else f"{count} for {len(bases)} blocks"


def tests(units, level: float) -> dict:
    """Tests of one difference and its bootstrap-t interval, without adjustment."""
    t, p = paired.t_test(units)
    flip = paired.sign_flip(units)
    d_z, hedges = paired.effect_size(units)
    lower, upper = paired.bootstrap_t(units, level)
    return {
        "skewed": "true" if paired.skewed(units) else "false",
        "bootstrap_lower": lower,
        "bootstrap_upper": upper,
        "t": t,
        "df": len(units) - 1,
        # without variance between units the t test is not defined; the sign-flip test still is
        "p": flip.p if math.isnan(p) else p,
        "p_source": "sign-flip" if math.isnan(p) else "t",
        "sign_flip_p": flip.p,
        "sign_flip_error": flip.error,
        "sign_flip_smallest": flip.smallest,
        "d_z": d_z,
        "hedges_g": hedges,
    }


def _row(by_block: dict[str, float], bases: dict[str, str], level: float) -> dict:
    cells, unit = described(by_block, bases, level)
    median = float(np.median(rules.units(by_block, bases)[0]))
    return {**cells, "unit": unit, "median": median, "note": note(by_block, len(bases), bases)}
