"""A score matrix that another framework logged: what can be computed from it, and what cannot and why.

Each framework keeps another part of R: which one, and what it computes under which name, is in
docs/foreign_metrics.md. What is missing is never filled in: a metric that needs it is not computed.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.statistics import metrics

NAMING = (
    "names",  # of data sets: equal in every framework
    "numbers",  # of experiences: they say the order of training within one framework
    "positions",  # the log does not say which task was trained: only T can be compared
)


@dataclass(frozen=True)
class Foreign:
    """R: (T + 1, T) shares in [0, 1], NaN where nothing was logged; tasks: T names in training order;
    notes: what a reader of the numbers must know; naming: how far `tasks` identifies them, one of NAMING."""

    R: np.ndarray
    tasks: list[str]
    notes: list[str] = field(default_factory=list)
    naming: str = "names"

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
        row = after[0]
        names = [self.tasks[each] for each in column[after == row]]
        of = f"the score of task {names[0]}" if len(names) == 1 else f"the scores of tasks {', '.join(names)}"
        return f"{of} after task {row} {'was' if len(names) == 1 else 'were'} not logged"

    def holes(self) -> str:
        """Which scores of tasks trained so far are not there, in words; empty when none is missing."""
        return self._missing(needs("anytime_average", len(self.tasks)))


def needs(name: str, T: int) -> np.ndarray:
    """(T + 1, T) bool: the cells of R that a metric of metrics.OF_MATRIX reads."""
    return metrics.METRICS[name].reads(metrics.Cells(T))


def from_cells(
    cells: dict[tuple[int, int], float], tasks: list[str], where, notes=(), full=1.0, naming="names"
) -> Foreign:
    """A Foreign of {(after, position): score}, after from 0 and position from 1.

    full: the score that is logged for all right, 1 or 100. Raises UserError naming `where`, the file or folder,
    when there are fewer than two tasks, a task is there twice, a score is not between 0 and full, or scores that
    should be percent are shares.
    """
    T = len(tasks)
    if T < 2:
        raise UserError(f"{where}: scores of {T} tasks, expected a stream of at least 2")
    twice = next((task for place, task in enumerate(tasks) if task in tasks[:place]), None)
    if twice is not None:
        places = [place for place, task in enumerate(tasks, 1) if task == twice]
        raise UserError(
            f"{where}: task {twice} is there twice, as task {places[0]} and {places[1]}; expected one run, in which"
            " every task is trained once. Remove what another run left"
        )
    R = np.full((T + 1, T), np.nan)
    for (after, position), score in cells.items():
        check_score(f"{where}: task {tasks[position - 1]} after task {after}", score, full)
        R[after, position - 1] = score / full
    if full > 1:
        _check_percent(where, R * full)
    return Foreign(R, list(tasks), list(notes), naming)


def check_score(where: str, score, full: float) -> None:
    """Raise UserError, led by `where`, when `score` is no number in [0, full]; True and NaN are none."""
    number = isinstance(score, int | float) and not isinstance(score, bool)
    if not (number and 0 <= score <= full):
        raise UserError(f"{where} has score {score}, expected one in [0, {full:g}]")


def _check_percent(where, R) -> None:
    """Raise UserError for a row of at most 1 percent throughout: a share, as a task was just trained in it.

    A row that is 0 for the task just trained may be of a run that failed. One such row is enough: it may have been
    rescored alone.
    """
    for after in range(1, len(R)):
        row = R[after][~np.isnan(R[after])]
        if len(row) and row.max() <= 1 and R[after, after - 1] > 0:
            found = ", ".join(f"{score:g}" for score in row[:4]) + (", .." if len(row) > 4 else "")
            raise UserError(
                f"{where}: the scores after task {after} are at most 1 ({found}), expected percent, from 0 to 100;"
                " multiply shares by 100"
            )


def text_of(path) -> str:
    """The text of a log, without a byte order mark.

    Raises UserError naming it when it is missing, or no text: nothing is unpickled.
    """
    try:
        with open(path, encoding="utf-8-sig") as handle:
            return handle.read()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a file") from None


def entries_of(path, none: str, expected: str) -> list[Path]:
    """Entries of a log's folder, sorted by name. Raises UserError `none`; `expected` when it cannot be listed."""
    try:
        return sorted(Path(path).iterdir())
    except OSError as error:
        raise UserError(f"{path}: {none} ({error.strerror}); {expected}") from None
