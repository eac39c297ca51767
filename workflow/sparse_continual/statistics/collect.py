"""Join the files of single runs into the tables of a study.

Only the csv module is used. Cells are copied as text, so no digit changes, and a job of a fraction of a second need not
import pandas. Rows are in the order of the study's conditions, then of its blocks; figures and the report take the
order of conditions from there.
"""

import csv

from sparse_continual import files
from sparse_continual.csv_text import csv_text
from sparse_continual.errors import UserError
from sparse_continual.runs.tables import RUNS, TRIALS
from sparse_continual.scores.tables import REFERENCES, SCORES
from sparse_continual.tables import Table


def collect_scores(runs: list[tuple[str, str]], paths: list[str], output: str) -> None:
    """scores.csv of all runs, or another table with its columns; `runs` holds the (condition, block) of each of
    `paths`."""
    rows = []
    for (condition, block), path in zip(runs, paths, strict=True):
        rows += [{"condition": condition, "block": block, **row} for row in _scores(path)]
    files.write(output, csv_text(rows, SCORES.names))


def collect_references(runs: list[tuple], paths: list[str], output: str) -> None:
    """references.csv from scores.csv of every reference run (runs/references.py).

    runs: (condition, block, the block's order, the run's own order, its `reference` settings). A single run
    contributes the score of each task after training on it alone; `after` is its position in the block. A joint run
    contributes the scores of the tasks that it trained; `after` is their number. Positions are the block's.
    """
    rows = []
    for (condition, block, order, run_order, reference), path in zip(runs, paths, strict=True):
        position = {task: number for number, task in enumerate(order, 1)}
        kept = []
        for row in _scores(path):
            turn, task = int(row["after"]), row["task"]
            if not turn or task not in position:
                continue
            if reference["kind"] == "single":
                trained, after = run_order[turn - 1 : turn], position[task]
            else:
                after = reference["at"][turn - 1]
                trained = run_order[:after]
            if task in trained:
                kept.append({**row, "after": after, "position": position[task]})
        kept.sort(key=lambda row: (row["after"], row["position"]))
        rows += [{"kind": reference["kind"], "condition": condition, "block": block, **row} for row in kept]
    files.write(output, csv_text(rows, REFERENCES.names))


def collect_runs(runs: list[tuple[str, str]], paths: list[str], output: str) -> None:
    """runs.csv from the list `tasks` of every run's run.json."""
    rows = []
    for (condition, block), path in zip(runs, paths, strict=True):
        for task in sorted(files.read_json(path)["tasks"], key=lambda task: task["position"]):
            row = {"condition": condition, "block": block, **task}
            missing = [column for column in RUNS.names if column not in row]
            if missing:
                raise ValueError(f"{path}: a task lacks {', '.join(missing)}")
            rows.append(row)
    files.write(output, csv_text(rows, RUNS.names))


def collect_trials(conditions: list[str], trials: list[str], chosen: list[str], output: str) -> None:
    """trials.csv of every tuned condition, with a column that marks the chosen learning rate."""
    rows = []
    for condition, path, choice in zip(conditions, trials, chosen, strict=True):
        rate = float(files.read_json(choice)["learning_rate"])
        for row in _read(path, [c for c in TRIALS.names if c not in ("condition", "chosen")]):
            hit = abs(float(row["learning_rate"]) - rate) <= 1e-9 * rate
            rows.append({**row, "condition": condition, "chosen": hit})
    files.write(output, csv_text(rows, TRIALS.names))


def collect(names: list[tuple[str, str]], paths: list[str], table: Table, output: str) -> None:
    """Write `table` from files that lack its first two columns; `names` holds these two cells for each of `paths`,
    such as (condition, block)."""
    columns = table.names
    rows = [
        {**dict(zip(columns, name, strict=False)), **row}
        for name, path in zip(names, paths, strict=True)
        for row in _read(path, columns[2:])
    ]
    files.write(output, csv_text(rows, columns))


def _scores(path: str) -> list[dict]:
    """Rows of a run's scores.csv by number of tasks trained, then position, a whole task before its parts."""
    rows = _read(path, SCORES.names[2:])
    return sorted(rows, key=lambda row: (int(row["after"]), int(row["position"]), row["part"] != "all"))


def _read(path: str, columns: list[str]) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{path}: no column {', '.join(missing)}; delete the file and run again")
        return list(reader)
