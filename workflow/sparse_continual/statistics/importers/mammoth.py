"""Mammoth (aimagelab): a line of logs.pyd, or the text that a run prints.

Read in its repository at e75a491 (2026-05):
- logs.pyd (utils/loggers.py, Logger.write): one line per run, the text of a dictionary with the run's arguments and
  `accuracy_<task>_task<after>` in percent. Only class-IL settings log these (also as task-IL, in another folder);
  domain-IL ones log means over tasks alone. Lines are searched for these keys, never evaluated;
- the printed log (print_mean_accuracy): `Accuracy for <after> task(s)`, then `Raw accuracy values: Class-IL [...] |
  Task-IL [...]` or `Domain-IL [...]`. Of the two settings class-IL is taken.

Both hold the tasks trained so far and nothing from before the stream. Cells above the diagonal are padding: its
`forgetting` fills rows with zeros in place (utils/metrics.py).
"""

import ast
import re
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.statistics.foreign import Foreign, from_cells, text_of

EXPECTED = "expected a line of logs.pyd with accuracy_1_task1, or a printed log with raw accuracy values"
_KEY = re.compile(r"'accuracy_(\d+)_task(\d+)': (?:np\.float64\()?([^,)}]+)")
_AFTER = re.compile(r"(?<!Future )Accuracy for (\d+) task\(s\)")
_RAW = re.compile(r"Raw accuracy values: (?:Class|Domain)-IL (\[[^\]]*\])")


def read(path) -> Foreign:
    """The matrix of a Mammoth log. Raises UserError naming the file where it is none that is known."""
    path = Path(path)
    text = text_of(path)
    runs = [line for line in text.splitlines() if line.startswith("{") and "'accmean_task1'" in line]
    if len(runs) > 1:
        raise UserError(f"{path}: {len(runs)} runs, expected one; put each line into a file of its own")
    if runs:
        cells = {(int(i), int(j)): _number(path, value) for j, i, value in _KEY.findall(runs[0])}
        if not cells:
            raise UserError(
                f"{path}: means over tasks alone, as Mammoth logs of domain-IL settings; give the printed log"
            )
    else:
        cells = _printed(path, text)
    T = max((after for after, _ in cells), default=0)
    notes = ["Mammoth keeps no scores from before the stream and none of tasks to come"]
    if any(position > after for after, position in cells):
        notes.append("zeros above the diagonal, with which Mammoth pads rows, are left out")
    below = {cell: score for cell, score in cells.items() if cell[1] <= cell[0]}
    return from_cells(below, [f"task {j}" for j in range(1, T + 1)], path, notes, full=100.0)


def _printed(path, text: str) -> dict:
    cells, after = {}, None
    for line in text.splitlines():
        if match := _AFTER.search(line):
            after = int(match[1])
        elif after and (match := _RAW.search(line)):
            try:
                scores = ast.literal_eval(match[1])
            except (SyntaxError, ValueError):
                raise UserError(f"{path}: found {match[1]}, expected a list of numbers") from None
            cells |= {(after, j): score for j, score in enumerate(scores, 1)}
            after = None
    if not cells:
        raise UserError(f"{path}: not a log of Mammoth that is known; {EXPECTED}")
    return cells


def _number(path, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{path}: found accuracy {text!r}, expected a number") from None
