"""Which arms a contrast compares: arm against arm, or the interaction of a 2 x 2."""

from collections.abc import Iterable

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.registry import nearest


def check(contrasts: list[dict], conditions: Iterable[str]) -> None:
    """Refuse contrasts that name unknown conditions, or that are neither 1 - 1 nor (2) - (2).

    Raises UserError naming the contrast.
    """
    known, seen = list(conditions), set()
    for contrast in contrasts:
        name, plus, minus = contrast["name"], contrast["plus"], contrast["minus"]
        where = f"study.contrasts: {name}"
        if name in seen:
            raise UserError(f"{where}: the name is used twice; give each contrast its own")
        seen.add(name)
        if (len(plus), len(minus)) not in ((1, 1), (2, 2)):
            raise UserError(
                f"{where}: plus has {len(plus)} and minus {len(minus)} conditions; expected one against one,"
                " or two against two for an interaction"
            )
        if len({*plus, *minus}) != len(plus) + len(minus):
            raise UserError(f"{where}: a condition stands in it twice; its conditions must differ")
        for condition in (*plus, *minus):
            if condition not in known:
                raise UserError(
                    f"{where}: condition {condition!r} is not in study.conditions{nearest(condition, known)}"
                )


def differences(values: dict[str, dict[str, float]], plus: list[str], minus: list[str]) -> dict[str, float]:
    """Sum of `plus` less sum of `minus`, block by block.

    `values` is condition -> block -> value. Blocks in which any of the arms has no defined value
    (NaN) are left out; a block that an arm lacks altogether is a fault and raises ValueError.
    """
    arms = (*plus, *minus)
    blocks = list(values[arms[0]])
    for arm in arms[1:]:
        if set(values[arm]) != set(blocks):
            raise ValueError(f"{arm} and {arms[0]} were not run on the same blocks")
    found = {b: sum(values[a][b] for a in plus) - sum(values[a][b] for a in minus) for b in blocks}
    return {b: d for b, d in found.items() if not np.isnan(d)}
