"""A score matrix that another framework logged: what can be computed from it, and what cannot and why.

Each framework keeps another part of R: which one, and what it computes under which name, is in
docs/foreign_metrics.md. What is missing is never filled in: a metric that needs it is not computed.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.statistics import metrics


@dataclass(frozen=True)
class Foreign:
    """R: (T + 1, T) shares in [0, 1], NaN where nothing was logged; tasks: T names in training order;
    notes: what a reader of the numbers must know."""

    R: np.ndarray
    tasks: list[str]
    notes: list[str] = field(default_factory=list)

    def metrics(self) -> tuple[dict[str, float], dict[str, str]]:
        """(metric -> value, metric -> why it cannot be computed), of all metrics of one matrix."""
        values, reasons = {}, {}
        for name, metric in metrics.OF_MATRIX.items():
            read = needs(name, len(self.tasks))
            reason = self._missing(read)
            if reason:
                reasons[name] = reason
            else:
                values[name] = metric(
                    np.where(read, self.R, 0)
                )  # cells that it does not read may be anything
        return values, reasons

    def _missing(self, read) -> str:
        """Which of the cells that are read are not there, in words; empty when all are."""
        after, column = np.nonzero(read & np.isnan(self.R))
        if not len(after):
            return ""
        if (after == 0).any():
            return "the scores before the stream were not logged"
        if (after <= column).any():
            return "scores of tasks that were not trained yet were not logged"
        return f"the score of task {self.tasks[column[0]]} after task {after[0]} was not logged"


def needs(name: str, T: int) -> np.ndarray:
    """(T + 1, T) bool: the cells of R that a metric of metrics.OF_MATRIX reads."""
    after, position = np.indices((T + 1, T))
    position = position + 1
    start, own, end = after == 0, after == position, after == T
    old = position < T
    return {
        "forgetting": old & (own | end),
        "forward_transfer": (position > 1) & (start | (after == position - 1)),
        "fraction_lost": old & (start | own | end),
        "learning_accuracy": own,
        "average_accuracy": end,
        "anytime_average": after >= position,
        "backward_transfer": old & (own | end),
        "forgetting_max": old & (after >= 1),
        "worst_forgetting": old & (own | end),
        "retention_area": old & (start | (after >= position)),
        "plasticity_loss": own,
    }[name]


def from_cells(cells: dict[tuple[int, int], float], tasks: list[str], where, notes=(), full=1.0) -> Foreign:
    """A Foreign of {(after, position): score}, after from 0 and position from 1.

    full: the score that is logged for all right, 1 or 100. Raises UserError naming `where`, the file or folder,
    when there are fewer than two tasks, or a score is not between 0 and full.
    """
    T = len(tasks)
    if T < 2:
        raise UserError(f"{where}: scores of {T} tasks, expected a stream of at least 2")
    R = np.full((T + 1, T), np.nan)
    for (after, position), score in cells.items():
        if not (isinstance(score, int | float) and math.isfinite(score) and 0 <= score <= full):
            raise UserError(
                f"{where}: task {tasks[position - 1]} after task {after} has score {score}, expected one in"
                f" [0, {full:g}]"
            )
        R[after, position - 1] = score / full
    return Foreign(R, list(tasks), list(notes))


def text_of(path) -> str:
    """The text of a log. Raises UserError naming it when it is missing, or no text: nothing is unpickled."""
    try:
        with open(path, encoding="utf-8-sig") as handle:
            return handle.read()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from None
