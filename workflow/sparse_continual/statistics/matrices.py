"""From the tidy tables of scores to one matrix R per condition, block and part, on three scales."""

from dataclasses import dataclass, field

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.statistics import metrics
from sparse_continual.statistics.metrics import SCALES


@dataclass(frozen=True)
class Scores:
    """Scores of one run on one part, on every scale: (T + 1, T), or (T + 1,) for the base.

    references: kind -> scale -> scores of the study's reference runs: "single" and "joint" of shape (T,); "joint_last",
    the score on the last task of the joint run on all tasks.
    """

    condition: str
    block: str
    part: str
    raw: np.ndarray
    corrected: np.ndarray
    bits: np.ndarray
    references: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def values(self, scale: str) -> dict[str, float]:
        """Metric -> value of all metrics that this run has on `scale`, in the order of metrics.py.

        In bits, only differences of scores are metrics: levels in bits have no natural zero.
        """
        scores = getattr(self, scale)
        if scores.ndim == 1:
            return {"base_retention": metrics.base_retention(scores)}
        computed = {
            name: metric(scores)
            for name, metric in metrics.OF_MATRIX.items()
            if scale != "bits" or name not in metrics.LEVELS
        }
        for name, (kind, metric) in metrics.OF_REFERENCE.items():
            if kind in self.references:
                computed[name] = metric(scores, self.references[kind][scale])
        return computed


def of_stream(scores, references=None) -> list[Scores]:
    """One entry per (condition, block, part), in the order of the table.

    scores: scores.csv; references: references.csv or None, DataFrames. A part that only some of a run's tasks have is
    left out, because it gives no full matrix. Raises ValueError naming the run when a cell is missing or double, and
    UserError naming it for an invalid score.
    """
    rows = scores[scores.position > 0]
    tasks = rows.groupby(["condition", "block"], sort=False).position.max()
    entries = []
    for (condition, block, part), group in rows.groupby(["condition", "block", "part"], sort=False):
        T = int(tasks[condition, block])
        if group.position.nunique() < T and part != "all":
            continue
        where = f"scores of {condition}, block {block}, part {part}"
        cells = group.after.to_numpy(), group.position.to_numpy() - 1
        if len(group) != (T + 1) * T or set(zip(*cells, strict=True)) != set(np.ndindex(T + 1, T)):
            raise ValueError(f"{where}: {len(group)} rows, expected {(T + 1) * T}, one per task after 0..{T}")
        on = {scale: np.full((T + 1, T), np.nan) for scale in SCALES}
        for scale, values in _scales(group, where).items():
            on[scale][cells] = values
        known = _references(references, condition, block, part, T) if references is not None else {}
        entries.append(Scores(condition, block, part, **on, references=known))
    return entries


def of_base(scores) -> list[Scores]:
    """One entry per run with scores on the base's own mixture: means over its members after 0..T."""
    rows = scores[(scores.position == 0) & (scores.part == "all")]
    entries = []
    for (condition, block), group in rows.groupby(["condition", "block"], sort=False):
        where = f"base scores of {condition}, block {block}"
        means = group.assign(**_scales(group, where)).groupby("after", sort=True)[list(SCALES)].mean()
        if list(means.index) != list(range(len(means))):
            raise ValueError(f"{where}: a row between 0 and T is missing")
        entries.append(Scores(condition, block, "base", **{s: means[s].to_numpy() for s in SCALES}))
    return entries


def of_table(metric, table) -> list[tuple[str, str, float]]:
    """(condition, block, value) of every run in the table of a secondary outcome, a DataFrame; metric: a `Metric`."""
    return [
        (condition, block, metric.function(*(group[column] for column in metric.columns)))
        for (condition, block), group in table.groupby(["condition", "block"], sort=False)
    ]


def _references(references, condition, block, part, T: int) -> dict[str, dict[str, np.ndarray]]:
    """Scores.references of one run, in the order of its block.

    For `single` runs, the score on the task that each was trained on; for `joint` runs, the score on task k of the run
    trained on tasks 1 .. k: the row whose `after` is k. A study may have only the joint run of all T tasks.
    """
    rows = references[
        (references.condition == condition) & (references.block == block) & (references.part == part)
    ]
    scales = {}
    for kind, group in rows.groupby("kind", sort=False):
        where = f"{kind} reference scores of {condition}, block {block}, part {part}"
        group = group[group.after == group.position].sort_values("position")
        positions = list(group.position)
        if positions != list(range(1, T + 1)) and (kind, positions) != ("joint", [T]):
            raise ValueError(f"{where}: positions {positions}, expected one row for each of 1..{T}")
        on = {scale: np.asarray(values) for scale, values in _scales(group, where).items()}
        if len(positions) == T:
            scales[kind] = on
        if kind == "joint":
            scales["joint_last"] = {scale: values[-1] for scale, values in on.items()}
    return scales


def _scales(group, where: str) -> dict:
    """Scale -> values of the rows of `group`; refuses an invalid score, naming its task and place."""
    _refuse(group, ~group.score.between(0, 1), where, "score {0.score}, expected one in [0, 1]")
    _refuse(group, ~(group.ceiling > group.chance), where, _CEILING)
    _refuse(group, ~np.isfinite(group.loss) | (group.loss < 0), where, _LOSS)
    return {
        "raw": group.score,
        "corrected": metrics.correct(group.score, group.chance, group.ceiling),
        "bits": metrics.bits(group.loss),
    }


_CEILING = "chance {0.chance} and ceiling {0.ceiling}, expected a ceiling above chance"
_LOSS = "loss {0.loss}, expected a finite one of 0 or more; for a diverged run lower the learning rates"


def _refuse(group, wrong, where: str, words: str) -> None:
    if wrong.any():
        row = group[wrong].iloc[0]
        raise UserError(f"{where}: task {row.task} after task {row.after} has {words.format(row)}")
