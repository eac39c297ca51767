"""A score matrix from another framework's log: the metrics that it supports, and why it does not support the others.

Each framework logs another part of R; docs/foreign_metrics.md lists which part, and which metric it computes under
which name. Missing scores are never filled in: a metric that needs them is not computed.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.statistics import metrics

NAMING = (
    "names",  # of data sets: the same in every framework
    "numbers",  # of experiences: they give the order of training within one framework
    "positions",  # the log does not say which task was trained: only T can be compared
)


@dataclass(frozen=True)
class Foreign:
    """R: (T + 1, T) shares in [0, 1], NaN if not logged; tasks: T names in training order; notes: caveats for readers
    of the numbers; naming: how far `tasks` identifies them, one of NAMING."""

    R: np.ndarray
    tasks: list[str]
    notes: list[str] = field(default_factory=list)
    naming: str = "names"

    def metrics(self) -> tuple[dict[str, float], dict[str, str]]:
        """(metric -> value, metric -> why it cannot be computed), for all metrics of one matrix."""
        values, reasons = {}, {}
        for name, metric in metrics.OF_MATRIX.items():
            read = needs(name, len(self.tasks))
            reason = self._missing(read)
            if reason:
                reasons[name] = reason
            else:
                values[name] = metric(np.where(read, self.R, 0))  # cells that the metric does not read
        return values, reasons

    def _missing(self, read) -> str:
        """The missing ones among the cells `read`, as a phrase; "" if none is missing."""
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
        """The missing scores of tasks trained so far, as a phrase; "" if none is missing."""
        return self._missing(needs("anytime_average", len(self.tasks)))


def needs(name: str, T: int) -> np.ndarray:
    """(T + 1, T) bool: the cells of R that a metric of metrics.OF_MATRIX reads."""
    return metrics.METRICS[name].reads(metrics.Cells(T))


def from_cells(
    cells: dict[tuple[int, int], float], tasks: list[str], where, notes=(), full=1.0, naming="names"
) -> Foreign:
    """A Foreign of {(after, position): score}, after from 0 and position from 1.

    full: the score of a perfect answer in the log, 1 or 100. Raises UserError naming `where`, the file or folder, for
    fewer than two tasks, a task that occurs twice, a score outside [0, full], or shares where percent is expected.
    """
    T = len(tasks)
    if T < 2:
        raise UserError(f"{where}: scores of {T} tasks, expected a stream of at least 2")
    twice = next((task for place, task in enumerate(tasks) if task in tasks[:place]), None)
    if twice is not None:
        places = [place for place, task in enumerate(tasks, 1) if task == twice]
        raise UserError(
            f"{where}: task {twice} occurs twice, as task {places[0]} and {places[1]}; expected one run that trains"
            " every task once. Remove the files of the other run"
        )
    R = np.full((T + 1, T), np.nan)
    for (after, position), score in cells.items():
        check_score(f"{where}: task {tasks[position - 1]} after task {after}", score, full)
        R[after, position - 1] = score / full
    if full > 1:
        _check_percent(where, R * full)
    return Foreign(R, list(tasks), list(notes), naming)


def check_score(where: str, score, full: float) -> None:
    """Raise UserError, led by `where`, if `score` is not a number in [0, full]; True and NaN are not numbers here."""
    number = isinstance(score, int | float) and not isinstance(score, bool)
    if not (number and 0 <= score <= full):
        raise UserError(f"{where} has score {score}, expected one in [0, {full:g}]")


def _check_percent(where, R) -> None:
    """Raise UserError for a row of at most 1 percent throughout: probably shares, because a task was just trained.

    A row that is 0 for the task just trained may come from a failed run. One row is enough: it may have been rescored
    alone.
    """
    for after in range(1, len(R)):
        row = R[after][~np.isnan(R[after])]
        if len(row) and row.max() <= 1 and R[after, after - 1] > 0:
            shown = ", ".join(f"{score:g}" for score in row[:4]) + (", .." if len(row) > 4 else "")
            raise UserError(
                f"{where}: the scores after task {after} are at most 1 ({shown}), expected percent, from 0 to 100;"
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
