"""Mammoth (aimagelab): a line of logs.pyd, or the text that a run prints.

From its repository at e75a491 (2026-05):
- logs.pyd (utils/loggers.py, Logger.write): one line per run, the text of a dictionary with the run's arguments and
  `accuracy_<task>_task<after>` in percent. Only class-IL settings log these (also as task-IL, in another folder);
  domain-IL ones log only means over tasks. Lines are searched for these keys, never evaluated;
- the printed log (print_mean_accuracy): `Accuracy for <after> task(s)`, then `Raw accuracy values: Class-IL [...] |
  Task-IL [...]` or `Domain-IL [...]`. Class-IL is used if both settings are printed.

A run prints every line twice, on standard error and through `logging`. A row that returns with other scores, or after
later rows, belongs to a second run in the same file, which is refused. A header without its row shows a killed run.

Both kinds hold the tasks trained so far and nothing from before the stream. Cells above the diagonal are padding:
Mammoth's `forgetting` fills rows with zeros in place (utils/metrics.py).
"""

import ast
import re
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.reanalysis.foreign import Foreign, from_cells, text_of
from sparse_continual.reanalysis.importer import Importer

EXPECTED = "expected a line of logs.pyd with accuracy_1_task1, or a printed log with raw accuracy values"
_KEY = re.compile(r"'accuracy_(\d+)_task(\d+)': (?:np\.float64\()?([^,)}]+)")
_HEADER = re.compile(r"\bAccuracy(?: \(epoch [^)]*\))?(?: for \d+ task\(s\))?:")
_AFTER = re.compile(r"(?<!Future )\bAccuracy for (\d+) task\(s\)")
_RAW = re.compile(r"Raw accuracy values: (?:Class|Domain)-IL (\[[^\]]*\])")


def read(path) -> Foreign:
    """The matrix of a Mammoth log. Raises UserError naming the file if it is not a known kind."""
    path = Path(path)
    text = text_of(path)
    runs = [line for line in text.splitlines() if line.startswith("{") and "'accmean_task1'" in line]
    if len(runs) > 1:
        raise UserError(f"{path}: {len(runs)} runs, expected one; put each line into a file of its own")
    if runs:
        if not runs[0].rstrip().endswith("}"):
            raise UserError(f"{path}: its line does not end in a bracket; expected the whole line of a run")
        matches = _KEY.findall(runs[0])
        cells = {(int(i), int(j)): _number(path, value) for j, i, value in matches}
        if len(cells) < len(matches):
            raise UserError(f"{path}: a score occurs twice in one line, expected the line of one run")
        if not cells:
            raise UserError(
                f"{path}: only means over tasks, as Mammoth logs for domain-IL settings; use the printed log"
            )
    else:
        cells = _printed(path, text)
    T = max((after for after, _ in cells), default=0)
    notes = ["Mammoth keeps no scores from before the stream and none of tasks to come"]
    if any(position > after for after, position in cells):
        notes.append("zeros above the diagonal, with which Mammoth pads rows, are left out")
    below = {cell: score for cell, score in cells.items() if cell[1] <= cell[0]}
    return from_cells(below, [f"task {j}" for j in range(1, T + 1)], path, notes, 100.0, "positions")


def _printed(path, text: str) -> dict:
    cells, rows, after = {}, {}, None
    for number, line in enumerate(text.splitlines(), 1):
        if match := _AFTER.search(line):
            after = int(match[1])
            if after < max(rows, default=0):
                raise UserError(
                    f"{path}: line {number}: accuracy for {after} task(s) again, after {max(rows)} task(s); expected"
                    " one run. Put each run into a file of its own"
                )
            rows.setdefault(after, None)
        elif _HEADER.search(line):  # of future tasks, or within a task
            after = None
        elif after and (match := _RAW.search(line)):
            try:
                scores = ast.literal_eval(match[1])
            except (SyntaxError, ValueError):
                raise UserError(
                    f"{path}: line {number}: found {match[1]}, expected a list of numbers"
                ) from None
            if rows[after] not in (None, scores):
                raise UserError(
                    f"{path}: line {number}: other scores after task {after} than before; expected one run. Put each"
                    " run into a file of its own"
                )
            rows[after] = scores
            cells |= {(after, j): score for j, score in enumerate(scores, 1)}
    for after in rows:
        if rows[after] is None and cells:
            raise UserError(
                f"{path}: accuracy for {after} task(s) without its raw accuracy values; expected a whole log. Rerun a"
                " run that was killed"
            )
    if not cells:
        raise UserError(f"{path}: not a known log of Mammoth; {EXPECTED}")
    return cells


def _number(path, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{path}: found accuracy {text!r}, expected a number") from None


IMPORTER = Importer(read, expected=EXPECTED)
