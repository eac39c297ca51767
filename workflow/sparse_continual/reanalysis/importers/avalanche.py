"""Avalanche (ContinualAI): its loggers' files, the dictionaries of `strategy.eval`, or its accuracy matrix.

From its repository at eb075be (2025-03), tested on files that its release 0.6.0 wrote:
- eval_results.csv of CSVLogger (avalanche/logging/csv_logger.py): eval_exp, training_exp, eval_accuracy, ...;
  training_exp is None for an evaluation before any training, which is row 0 here;
- text of TextLogger and InteractiveLogger (avalanche/logging/text_logging.py): `Top1_Acc_Exp/eval_phase/...`
  below `-- >> Start of eval phase << --`. Evaluations within a training phase are skipped. InteractiveLogger does not
  log which experience is trained: then the order of their numbers is used;
- .json: a list of the dictionaries that `strategy.eval` returned, one per evaluation; the first may be from before the
  stream. Or the matrix of AccuracyMatrixPluginMetric (avalanche/evaluation/metrics/acc_matrix.py) as a list of rows,
  which has no row before the stream.

Experiences are the tasks, in the order in which they were trained. A stream trains each of them once. So if an
experience is trained again after another one, or evaluated again after the same task with another score, the file
contains a second run and is refused. A text that ends within training or evaluation is refused too: its run was killed.
"""

import csv
import re
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import read_json
from sparse_continual.reanalysis.foreign import Foreign, from_cells, text_of
from sparse_continual.reanalysis.importer import Importer

CSV = ["eval_exp", "training_exp", "eval_accuracy"]
EXPECTED = (
    "expected eval_results.csv of CSVLogger, the text of TextLogger, or .json of evaluations or a matrix"
)
ORDER = "experiences are taken to have been trained in the order of their numbers"
APPENDED = "expected one run; put each run into a file of its own"
STALE = "what `strategy.eval` returns keeps the last score of an experience that was not evaluated again"
_NAME = re.compile(r"Top1_Acc_Exp/eval_phase/(\w+)_stream/(?:Task\d+/)?Exp(\d+)$")
_TRAIN = re.compile(r"-- Starting training on experience (\d+) ")
_PHASE = re.compile(r"-- >> (Start|End) of (training|eval) phase << --")
_VALUE = re.compile(r"\s*(Top1_Acc_Exp/eval_phase/\S+) = (\S+)$")


def read(path) -> Foreign:
    """The matrix of an Avalanche log. Raises UserError naming the file if it is not a known kind."""
    path = Path(path)
    if path.suffix == ".json":
        return _json(path)
    text = text_of(path)
    if text.startswith(",".join(CSV)):
        return _csv(path, text)
    if "-- >> Start of eval phase << --" in text:
        return _log(path, text)
    raise UserError(f"{path}: not a known log of Avalanche; {EXPECTED}")


def _csv(path, text: str) -> Foreign:
    trained, cells = [], {}
    for number, row in enumerate(csv.DictReader(text.splitlines()), 2):
        if row["eval_exp"] == CSV[0]:
            raise UserError(f"{path}: line {number}: the header again; {APPENDED}")
        try:
            if None in row or None in row.values():
                raise ValueError("cut")
            experience, score = int(row["eval_exp"]), float(row["eval_accuracy"])
            last = None if row["training_exp"] == "None" else int(row["training_exp"])
        except (TypeError, ValueError):
            raise UserError(
                f"{path}: line {number}: found {','.join(map(str, row.values()))}, expected numbers, one for each"
                " column"
            ) from None
        if last is None and trained:
            raise UserError(
                f"{path}: line {number}: an evaluation before any training, after others; {APPENDED}"
            )
        if last is not None:
            _train(trained, last, f"{path}: line {number}")
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
    return _foreign(path, trained, cells, ["CSVLogger rounds scores to four digits"], "numbers")


def _log(path, text: str) -> Foreign:
    trained, cells, ignored = [], {}, set()
    training, evaluating, named = False, False, False
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path}: line {number}"
        if match := _PHASE.search(line):
            begins = match[1] == "Start"
            if match[2] == "eval":
                evaluating = begins
            elif begins:
                training, evaluating, named = True, False, False
            else:
                training = False
                if not named:  # InteractiveLogger does not say what was trained
                    trained.append(None)
        elif match := _TRAIN.search(line):
            named = True
            _train(trained, int(match[1]), where)
        elif not training and (match := _VALUE.match(line)):
            _add(cells, len(trained), {match[1]: _number(where, match[2])}, ignored, where)
    notes = ["TextLogger rounds scores to four digits", *_ignored(ignored)]
    if None in trained:
        experiences = sorted({experience for _, experience in cells})
        if set(trained) != {None} or len(trained) != len(experiences):
            raise UserError(
                f"{path}: {len(trained)} training phases of {len(experiences)} experiences, not all of them named;"
                " expected one for each, or the log of TextLogger, which names them"
            )
    if training or evaluating:
        raise UserError(
            f"{path}: ends within {'training' if training else 'an evaluation'} after task {len(trained)}; expected a"
            " whole log. Rerun a run that was killed"
        )
    if None in trained:
        return _foreign(path, experiences, cells, [*notes, ORDER], "positions")
    return _foreign(path, trained, cells, notes, "numbers")


def _json(path) -> Foreign:
    content = read_json(path)
    if isinstance(content, list) and content and all(isinstance(row, list) for row in content):
        return _matrix(path, content)
    if not (isinstance(content, list) and content and all(isinstance(row, dict) for row in content)):
        raise UserError(f"{path}: not a known log of Avalanche; {EXPECTED}")
    cells, ignored = {}, set()
    for number, evaluation in enumerate(content):
        _add(cells, number, evaluation, ignored, f"{path}: evaluation {number + 1}")
    experiences = sorted({experience for _, experience in cells})
    first = len(content) - len(experiences)  # 1 with an evaluation before the stream
    if first not in (0, 1):
        raise UserError(
            f"{path}: {len(content)} evaluations of {len(experiences)} experiences, expected one after each task,"
            " and perhaps one before the stream"
        )
    trained = [any("/train_phase/" in name for name in evaluation) for evaluation in content]
    if any(trained) and trained != [
        not first,
        *[True] * (len(content) - 1),
    ]:  # kept from the first training on
        raise UserError(
            f"{path}: {len(content)} evaluations of {len(experiences)} experiences, those without metrics of training"
            f" in places {[place for place, after in enumerate(trained, 1) if not after]}; expected one after each"
            " task, and perhaps one before the stream. Was the run killed, or is a second run in the file?"
        )
    known = [{experience for number, experience in cells if number == row} for row in range(len(content))]
    if first and len(known[0]) < len(experiences) and known[0] == known[1]:
        raise UserError(
            f"{path}: evaluations 1 and 2 are both of experiences {sorted(known[0])}, of {len(experiences)};"
            f" {APPENDED}, or an evaluation of the whole stream before training"
        )
    cells = {(number + 1 - first, experience): score for (number, experience), score in cells.items()}
    notes = [ORDER, STALE, *_ignored(ignored)]
    if not first:
        notes.insert(1, "the first evaluation is taken as the one after the first task")
    return _foreign(path, experiences, cells, notes, "positions")


def _matrix(path, rows: list) -> Foreign:
    T = len(rows[-1])
    if any(len(row) != T for row in rows) or len(rows) not in (T, T + 1):
        raise UserError(f"{path}: a matrix of {len(rows)} rows, expected {T} or {T + 1} rows of {T} scores")
    first = T + 1 - len(rows)
    cells = {(i + first, j + 1): rows[i][j] for i in range(len(rows)) for j in range(T)}
    zero = [i + first for i, row in enumerate(rows) if i + first and not any(row)]
    if zero:
        raise UserError(
            f"{path}: all scores after task {zero[0]} are 0, which is how AccuracyMatrixPluginMetric keeps what was not"
            " evaluated; expected the matrix of a whole run. Rerun a run that was killed"
        )
    notes = [ORDER]
    below = [score for (after, position), score in cells.items() if after > position]
    if below and not any(below):
        notes.append("all scores below the diagonal are 0: forgotten, or not evaluated again")
    if first:
        notes.append("the matrix of AccuracyMatrixPluginMetric keeps no row from before the stream")
        above = {cell for cell in cells if cell[0] < cell[1]}
        if not any(cells[cell] for cell in above):
            cells = {cell: score for cell, score in cells.items() if cell not in above}
            notes.append("all scores above the diagonal are 0, which is how unevaluated experiences are kept")
    return from_cells(cells, [f"experience {j}" for j in range(T)], path, notes, naming="positions")


def _train(trained: list, experience: int, where: str) -> None:
    """Append an experience that is trained to `trained`; its training may take several steps."""
    if experience in trained[:-1]:
        raise UserError(
            f"{where}: experience {experience} is trained again, after experience {trained[-1]}; {APPENDED}"
        )
    if experience not in trained:
        trained.append(experience)


def _add(cells: dict, after: int, evaluation: dict, ignored: set, where: str) -> None:
    """Add the scores of one evaluation to `cells`, by experience; names of other streams than test to `ignored`."""
    for name, score in evaluation.items():
        match = _NAME.search(name)
        if match and match[1] == "test":
            cell = after, int(match[2])
            if cell in cells and cells[cell] != score:
                raise UserError(
                    f"{where}: a second score of experience {int(match[2])} after {after} tasks, {score}, and"
                    f" {cells[cell]} before; expected one evaluation after each task, of one run"
                )
            cells[cell] = score
        elif match:
            ignored.add(match[1])


def _ignored(streams: set) -> list[str]:
    return [
        f"scores on the stream {name} are left out: metrics are of the test stream"
        for name in sorted(streams)
    ]


def _number(where: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{where}: found score {text!r}, expected a number") from None


def _foreign(path, trained: list[int], cells: dict, notes: list[str], naming: str) -> Foreign:
    unknown = sorted({experience for _, experience in cells if experience not in trained})
    if not cells or unknown:
        what = (
            f"experiences {unknown} are evaluated but never trained"
            if unknown
            else "no score of an experience"
        )
        raise UserError(
            f"{path}: {what}; expected the log of the whole stream, of a run that was not killed, with accuracy per"
            " experience"
        )
    position = {experience: place for place, experience in enumerate(trained, 1)}
    placed = {(after, position[experience]): score for (after, experience), score in cells.items()}
    tasks = [f"experience {experience}" for experience in trained]
    return from_cells(placed, tasks, path, notes, naming=naming)


IMPORTER = Importer(read, expected=EXPECTED)
