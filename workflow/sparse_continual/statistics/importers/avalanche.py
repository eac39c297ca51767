"""Avalanche (ContinualAI): its loggers' files, the dictionaries of `strategy.eval`, or its accuracy matrix.

Read in its repository at eb075be (2025-03), and tried on files that its release 0.6.0 wrote:
- eval_results.csv of CSVLogger (avalanche/logging/csv_logger.py): eval_exp, training_exp, eval_accuracy, ...;
  training_exp is None for an evaluation before any training, which is row 0 here;
- text of TextLogger and InteractiveLogger (avalanche/logging/text_logging.py): `Top1_Acc_Exp/eval_phase/...`
  below `-- >> Start of eval phase << --`. Evaluations within a training phase are left out. InteractiveLogger does
  not say which experience is trained: then the order of their numbers is taken;
- .json: a list of the dictionaries that `strategy.eval` returned, one per evaluation, of which the first may be
  from before the stream; or the matrix of AccuracyMatrixPluginMetric
  (avalanche/evaluation/metrics/acc_matrix.py) as a list of rows, which has no row before the stream.

Experiences are the tasks, in the order in which they were trained.
"""

import csv
import re
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import read_json
from sparse_continual.statistics.foreign import Foreign, from_cells, text_of

CSV = ["eval_exp", "training_exp", "eval_accuracy"]
EXPECTED = (
    "expected eval_results.csv of CSVLogger, the text of TextLogger, or .json of evaluations or a matrix"
)
ORDER = "experiences are taken to have been trained in the order of their numbers"
STALE = "what `strategy.eval` returns keeps the last score of an experience that was not evaluated again"
_NAME = re.compile(r"Top1_Acc_Exp/eval_phase/(\w+)_stream/(?:Task\d+/)?Exp(\d+)$")
_TRAIN = re.compile(r"-- Starting training on experience (\d+) ")
_VALUE = re.compile(r"\s*(Top1_Acc_Exp/eval_phase/\S+) = (\S+)$")


def read(path) -> Foreign:
    """The matrix of an Avalanche log. Raises UserError naming the file where it is none that is known."""
    path = Path(path)
    if path.suffix == ".json":
        return _json(path)
    text = text_of(path)
    if text.startswith(",".join(CSV)):
        return _csv(path, text)
    if "-- >> Start of eval phase << --" in text:
        return _log(path, text)
    raise UserError(f"{path}: not a log of Avalanche that is known; {EXPECTED}")


def _csv(path, text: str) -> Foreign:
    trained, cells = [], {}
    for number, row in enumerate(csv.DictReader(text.splitlines()), 2):
        try:
            experience, score = int(row["eval_exp"]), float(row["eval_accuracy"])
            last = None if row["training_exp"] == "None" else int(row["training_exp"])
        except (TypeError, ValueError):
            raise UserError(
                f"{path}: line {number}: found {','.join(map(str, row.values()))}, expected numbers"
            ) from None
        if last is not None and last not in trained:
            trained.append(last)
        if row["eval_accuracy"] == "0":  # an accuracy is written with digits, even one of zero
            raise UserError(
                f"{path}: line {number}: no accuracy; expected ExperienceAccuracy to be monitored"
            )
        after = 0 if last is None else trained.index(last) + 1
        if (after, experience) in cells:
            raise UserError(
                f"{path}: line {number}: a second score of experience {experience} after task {after};"
                " CSVLogger does not say of which stream: log the evaluation of one stream, once after each task"
            )
        cells[after, experience] = score
    return _foreign(path, trained, cells, ["CSVLogger rounds scores to four digits"])


def _log(path, text: str) -> Foreign:
    trained, cells, training, ignored, before = [], {}, False, set(), 0
    for line in text.splitlines():
        if "-- >> Start of training phase << --" in line:
            training, before = True, len(trained)
        elif "-- >> End of training phase << --" in line:
            training = False
            if len(trained) == before:  # InteractiveLogger does not say what was trained
                trained.append(None)
        elif match := _TRAIN.search(line):
            if int(match[1]) not in trained:
                trained.append(int(match[1]))
        elif not training and (match := _VALUE.match(line)):
            _add(cells, len(trained), {match[1]: _number(path, match[2])}, ignored)
    notes = ["TextLogger rounds scores to four digits", *_ignored(ignored)]
    if None in trained:
        experiences = sorted({experience for _, experience in cells})
        if set(trained) != {None} or len(trained) != len(experiences):
            raise UserError(
                f"{path}: {len(trained)} training phases of {len(experiences)} experiences, not all of them named;"
                " expected one for each, or the log of TextLogger, which names them"
            )
        trained, notes = experiences, [*notes, ORDER]
    return _foreign(path, trained, cells, notes)


def _json(path) -> Foreign:
    found = read_json(path)
    if isinstance(found, list) and found and all(isinstance(row, list) for row in found):
        return _matrix(path, found)
    if not (isinstance(found, list) and found and all(isinstance(row, dict) for row in found)):
        raise UserError(f"{path}: not a log of Avalanche that is known; {EXPECTED}")
    cells, ignored = {}, set()
    for number, evaluation in enumerate(found):
        _add(cells, number, evaluation, ignored)
    experiences = sorted({experience for _, experience in cells})
    first = len(found) - len(experiences)  # 1 with an evaluation before the stream
    if first not in (0, 1):
        raise UserError(
            f"{path}: {len(found)} evaluations of {len(experiences)} experiences, expected one after each task,"
            " and perhaps one before the stream"
        )
    cells = {(number + 1 - first, experience): score for (number, experience), score in cells.items()}
    return _foreign(path, experiences, cells, [ORDER, STALE, *_ignored(ignored)])


def _matrix(path, rows: list) -> Foreign:
    T = len(rows[-1])
    if any(len(row) != T for row in rows) or len(rows) not in (T, T + 1):
        raise UserError(f"{path}: a matrix of {len(rows)} rows, expected {T} or {T + 1} rows of {T} scores")
    first = T + 1 - len(rows)
    cells = {(i + first, j + 1): rows[i][j] for i in range(len(rows)) for j in range(T)}
    notes = []
    if first:
        notes.append("the matrix of AccuracyMatrixPluginMetric keeps no row from before the stream")
        above = {cell for cell in cells if cell[0] < cell[1]}
        if not any(cells[cell] for cell in above):
            cells = {cell: score for cell, score in cells.items() if cell not in above}
            notes.append("all scores above the diagonal are 0, which is how unevaluated experiences are kept")
    return from_cells(cells, [f"experience {j}" for j in range(T)], path, notes)


def _add(cells: dict, after: int, evaluation: dict, ignored: set) -> None:
    """Put the scores of one evaluation into `cells`, by experience; of other streams than test, their names."""
    for name, score in evaluation.items():
        match = _NAME.search(name)
        if match and match[1] == "test":
            cells[after, int(match[2])] = score
        elif match:
            ignored.add(match[1])


def _ignored(streams: set) -> list[str]:
    return [
        f"scores on the stream {name} are left out: metrics are of the test stream"
        for name in sorted(streams)
    ]


def _number(path, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{path}: found score {text!r}, expected a number") from None


def _foreign(path, trained: list[int], cells: dict, notes: list[str]) -> Foreign:
    unknown = sorted({experience for _, experience in cells if experience not in trained})
    if not cells or unknown:
        what = (
            f"experiences {unknown} are evaluated but never trained"
            if unknown
            else "no score of an experience"
        )
        raise UserError(f"{path}: {what}; expected the log of the whole stream with accuracy per experience")
    position = {experience: place for place, experience in enumerate(trained, 1)}
    placed = {(after, position[experience]): score for (after, experience), score in cells.items()}
    return from_cells(placed, [f"experience {experience}" for experience in trained], path, notes)
