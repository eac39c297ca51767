"""From the tidy table of scores to one matrix R per condition, block and part."""

from dataclasses import dataclass

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.statistics.metrics import correct


@dataclass(frozen=True)
class Scores:
    """Scores of one run on one part: `raw` and `corrected` of shape (T + 1, T), or (T + 1,) for the base."""

    condition: str
    block: str
    part: str
    raw: np.ndarray
    corrected: np.ndarray


def of_stream(scores) -> list[Scores]:
    """One entry per (condition, block, part), in the order of the table.

    A part that only some of a run's tasks have is left out, as it makes no full matrix. Raises
    ValueError naming the run when a cell is missing or double.
    """
    rows = scores[scores.position > 0]
    tasks = rows.groupby(["condition", "block"], sort=False).position.max()
    found = []
    for (condition, block, part), group in rows.groupby(["condition", "block", "part"], sort=False):
        T = int(tasks[condition, block])
        if group.position.nunique() < T and part != "all":
            continue
        where = f"scores of {condition}, block {block}, part {part}"
        raw = np.full((T + 1, T), np.nan)
        corrected = raw.copy()
        cells = group.after.to_numpy(), group.position.to_numpy() - 1
        if len(group) != raw.size or len(set(zip(*cells, strict=True))) != raw.size:
            raise ValueError(f"{where}: {len(group)} rows, expected {raw.size}, one per task after 0..{T}")
        raw[cells] = group.score
        corrected[cells] = _corrected(group, where)
        found.append(Scores(condition, block, part, raw, corrected))
    return found


def of_base(scores) -> list[Scores]:
    """One entry per run that has scores of the base's own mixture: means over its members after 0..T."""
    rows = scores[(scores.position == 0) & (scores.part == "all")]
    found = []
    for (condition, block), group in rows.groupby(["condition", "block"], sort=False):
        group = group.assign(corrected=_corrected(group, f"base scores of {condition}, block {block}"))
        means = group.groupby("after", sort=True)[["score", "corrected"]].mean()
        if list(means.index) != list(range(len(means))):
            raise ValueError(f"base scores of {condition}, block {block}: a row between 0 and T is missing")
        found.append(Scores(condition, block, "base", means.score.to_numpy(), means.corrected.to_numpy()))
    return found


def _corrected(group, where: str):
    wrong = group[~(group.ceiling > group.chance)]
    if len(wrong):
        row = wrong.iloc[0]
        raise UserError(
            f"{where}: task {row.task} has chance {row.chance} and ceiling {row.ceiling}; expected a ceiling"
            " above chance"
        )
    return correct(group.score, group.chance, group.ceiling)
