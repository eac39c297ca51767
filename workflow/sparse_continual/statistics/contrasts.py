"""Which arms a contrast compares: arm against arm, the interaction of a 2 x 2, or the level of one arm.

Every contrast names its estimand, what kind of difference it is; estimands are never pooled.
"""

from collections.abc import Iterable

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.registry import nearest

ESTIMANDS = (
    "lock",
    "writes",
    "same_shape",
    "matched_nonzeros",
    "matched_flops",
    "stacking",
    "load",
    "level",
    "as_published",
    "other",
)
SIZES = ((1, 1), (2, 2), (1, 0))
# of an arm against an arm: what they differ in, and the rest of what is expected
DIFFER = {
    "lock": ({"locked"}, "the one with locked: false in minus"),
    "writes": ({"writes", "like"}, ""),
    "same_shape": ({"topology"}, "the dense one in minus"),
    "matched_nonzeros": (
        {"topology", "match"},
        "in minus one with match: {to: the topology in plus, on: nonzeros}",
    ),
    "matched_flops": (
        {"topology", "match"},
        "in minus one with match: {to: the topology in plus, on: flops}",
    ),
    "stacking": ({"mechanism"}, ""),
}


def check(contrasts: list[dict], conditions: Iterable[str]) -> None:
    """Refuse contrasts that name unknown conditions or estimands, or that have a wrong number of arms.

    Raises UserError naming the contrast.
    """
    known, seen = list(conditions), set()
    for contrast in contrasts:
        name, plus, minus = contrast["name"], contrast["plus"], contrast["minus"]
        estimand, streams = contrast["estimand"], contrast.get("streams")
        where = f"study.contrasts: {name}"
        if name in seen:
            raise UserError(f"{where}: the name is used twice; give each contrast its own")
        seen.add(name)
        if estimand not in ESTIMANDS:
            raise UserError(
                f"{where}: estimand {estimand!r} is unknown; expected one of {', '.join(ESTIMANDS)}"
                f"{nearest(estimand, ESTIMANDS)}"
            )
        if (len(plus), len(minus)) not in SIZES:
            raise UserError(
                f"{where}: plus has {len(plus)} and minus {len(minus)} conditions; expected one against one,"
                " two against two for an interaction, or one against none for a level"
            )
        if (estimand == "level") != is_level(contrast):
            raise UserError(
                f"{where}: estimand {estimand} with {len(minus)} conditions in minus; a level is one"
                " condition against none, and one condition against none is a level"
            )
        if (estimand == "load") != (streams is not None):
            raise UserError(
                f"{where}: estimand {estimand} {'without' if streams is None else 'with'} streams; a load is"
                " the same contrast on two streams, and only a load names streams: [a, b]"
            )
        if streams is not None and len(set(streams)) != 2:
            raise UserError(f"{where}: streams is {', '.join(streams)}; expected two different streams")
        if len({*plus, *minus}) != len(plus) + len(minus):
            raise UserError(f"{where}: a condition stands in it twice; its conditions must differ")
        for condition in (*plus, *minus):
            if condition not in known:
                raise UserError(
                    f"{where}: condition {condition!r} is not in study.conditions{nearest(condition, known)}"
                )


def check_arms(contrasts: list[dict], conditions: dict, dense: Iterable[str]) -> list[str]:
    """A line for every contrast of two arms that differ in something else than its estimand is about.

    conditions: name -> settings, those that are left out too; dense: names of the topologies that have every weight.
    """
    lines = []
    for contrast in contrasts:
        if contrast["estimand"] not in DIFFER or len(contrast["minus"]) != 1:
            continue
        allowed, rest = DIFFER[contrast["estimand"]]
        (one,), (other,) = contrast["plus"], contrast["minus"]
        plus, minus = conditions[one], conditions[other]
        differ = [key for key in (plus | minus) if plus.get(key) != minus.get(key)]
        matched = {"to": plus["topology"], "on": contrast["estimand"].removeprefix("matched_")}
        fits = {
            "lock": plus["locked"],
            "same_shape": minus["topology"] in dense,
            "matched_nonzeros": minus.get("match") == matched,
            "matched_flops": minus.get("match") == matched,
        }
        if not differ or not set(differ) <= allowed or not fits.get(contrast["estimand"], True):
            lines.append(
                f"study.contrasts: {contrast['name']}: found estimand {contrast['estimand']} of {one} and {other}, "
                f"which differ in {', '.join(differ) or 'nothing'}; expected conditions that differ in "
                f"{' and '.join(sorted(allowed))} alone{rest and ', ' + rest}; for anything else take estimand other"
            )
    return lines


def is_level(contrast: dict) -> bool:
    """Whether the contrast is the level of one arm, tested against 0."""
    return not contrast["minus"]


def arms(contrast: dict) -> tuple[str, ...]:
    """The conditions of a contrast, those of plus first."""
    return (*contrast["plus"], *contrast["minus"])


def differences(values: dict[str, dict[str, float]], plus: list[str], minus: list[str]) -> dict[str, float]:
    """Sum of `plus` less sum of `minus`, block by block.

    `values` is condition -> block -> value. Blocks in which any of the arms has no defined value
    (NaN) are left out. Raises UserError naming arms and blocks when the arms were not run on the same
    ones: a mean over other blocks is no paired difference.
    """
    first, *others = (*plus, *minus)
    blocks = list(values[first])
    for arm in others:
        alone = set(values[arm]) ^ set(blocks)
        if alone:
            only = [(a, [b for b in values[a] if b in alone]) for a in (first, arm)]
            found = " and ".join(f"{a} alone has {', '.join(own)}" for a, own in only if own)
            raise UserError(
                f"scores: {first} and {arm} were not run on the same blocks: {found}; expected every arm of"
                " a contrast on every block; delete the study's scores.csv and run again"
            )
    found = {b: sum(values[a][b] for a in plus) - sum(values[a][b] for a in minus) for b in blocks}
    return {b: float(d) for b, d in found.items() if not np.isnan(d)}


def units(differences: dict[str, float], bases: dict[str, str]) -> tuple[np.ndarray, str]:
    """The values that statistics count as n, and what they are: ("block" or "base").

    `bases` is block -> base. Where blocks share bases and there are several, differences are averaged
    within each base first: blocks of one base replicate streams, not topologies. With one base for all
    blocks the unit stays the block, and what is said holds for that base alone.
    """
    groups: dict[str, list[float]] = {}
    for block, difference in differences.items():
        groups.setdefault(bases[block], []).append(difference)
    if shared(bases):
        return np.array([np.mean(group) for group in groups.values()]), "base"
    return np.array(list(differences.values()), dtype=float), "block"


def shared(bases: dict[str, str]) -> bool:
    """Whether the base is the unit: there are several, and some blocks share one."""
    return 1 < len(set(bases.values())) < len(bases)
