"""Join the files of single runs into the tables of a study.

Only the csv module is used: cells are copied as they were written, so no digit changes, and a job of
a fraction of a second does not pay for an import of pandas. Rows stand in the order of the study's
conditions, then of its blocks; figures and the report take the order of conditions from there.
"""

import csv

from sparse_continual import files
from sparse_continual.csv_text import csv_text
from sparse_continual.errors import UserError

SCORES = "condition block after task position part score loss items chance ceiling".split()
ITEMS = "condition block after task position scores".split()
REFERENCES = ["kind", *SCORES]
SAVINGS = "condition block task position steps score_old score_base".split()
RUNS = (
    "condition block position task steps stop tokens learning_rate validation_loss trained update_norm"
    " relative_update ends_share"
).split()
TRIALS = "condition block learning_rate after task position score loss chance ceiling chosen".split()
DENSITIES = "topology block matrix layer module weights nonzeros density pattern".split()


def collect_scores(runs: list[tuple[str, str]], paths: list[str], output: str) -> None:
    """scores.csv of every run, or another table of its columns; `runs` holds the (condition, block) of each of
    `paths`."""
    rows = []
    for (condition, block), path in zip(runs, paths, strict=True):
        rows += [{"condition": condition, "block": block, **row} for row in _scores(path)]
    files.write(output, csv_text(rows, SCORES))


def collect_items(runs: list[tuple[str, str]], paths: list[str], output: str) -> None:
    """items.csv of every run: the score of every test item after every task."""
    collect(runs, paths, ITEMS, output)


def collect_savings(runs: list[tuple[str, str]], paths: list[str], output: str) -> None:
    """savings.csv of every run."""
    collect(runs, paths, SAVINGS, output)


def collect_references(runs: list[tuple], paths: list[str], output: str) -> None:
    """references.csv from scores.csv of every reference run (runs/references.py).

    runs: (condition, block, the block's order, the run's own order, its `reference` settings). A single run
    keeps the score of each task after training on it alone, `after` being its position in the block; a joint
    one keeps those of the tasks that were trained, `after` being their number. Positions are the block's.
    """
    rows = []
    for (condition, block, order, own, reference), path in zip(runs, paths, strict=True):
        position = {task: number for number, task in enumerate(order, 1)}
        kept = []
        for row in _scores(path):
            turn, task = int(row["after"]), row["task"]
            if not turn or task not in position:
                continue
            if reference["kind"] == "single":
                trained, after = own[turn - 1 : turn], position[task]
            else:
                after = reference["at"][turn - 1]
                trained = own[:after]
            if task in trained:
                kept.append({**row, "after": after, "position": position[task]})
        kept.sort(key=lambda row: (row["after"], row["position"]))
        rows += [{"kind": reference["kind"], "condition": condition, "block": block, **row} for row in kept]
    files.write(output, csv_text(rows, REFERENCES))


def collect_runs(runs: list[tuple[str, str]], paths: list[str], output: str) -> None:
    """runs.csv from the list `tasks` of every run's run.json."""
    rows = []
    for (condition, block), path in zip(runs, paths, strict=True):
        for task in sorted(files.read_json(path)["tasks"], key=lambda task: task["position"]):
            row = {"condition": condition, "block": block, **task}
            missing = [column for column in RUNS if column not in row]
            if missing:
                raise ValueError(f"{path}: a task lacks {', '.join(missing)}")
            rows.append(row)
    files.write(output, csv_text(rows, RUNS))


def collect_trials(conditions: list[str], trials: list[str], chosen: list[str], output: str) -> None:
    """trials.csv of every tuned condition, with a column that marks the chosen learning rate."""
    rows = []
    for condition, path, choice in zip(conditions, trials, chosen, strict=True):
        rate = float(files.read_json(choice)["learning_rate"])
        for row in _read(path, [c for c in TRIALS if c not in ("condition", "chosen")]):
            hit = abs(float(row["learning_rate"]) - rate) <= 1e-9 * rate
            rows.append({**row, "condition": condition, "chosen": hit})
    files.write(output, csv_text(rows, TRIALS))


def collect_densities(topologies: list[tuple[str, str]], paths: list[str], output: str) -> None:
    """densities.csv of every topology; `topologies` holds the (name, block) of each of `paths`."""
    collect(topologies, paths, DENSITIES, output)


def collect(names: list[tuple[str, str]], paths: list[str], columns: list[str], output: str) -> None:
    """One table of `columns` from tables of the same columns without the first two: `names` holds what stands in
    these for each of `paths`, such as (condition, block)."""
    rows = [
        {**dict(zip(columns, name, strict=False)), **row}
        for name, path in zip(names, paths, strict=True)
        for row in _read(path, columns[2:])
    ]
    files.write(output, csv_text(rows, columns))


def _scores(path: str) -> list[dict]:
    """Rows of a run's scores.csv by task trained, then position, the whole task before its parts."""
    rows = _read(path, SCORES[2:])
    return sorted(rows, key=lambda row: (int(row["after"]), int(row["position"]), row["part"] != "all"))


def _read(path: str, columns: list[str]) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{path}: no column {', '.join(missing)}; delete the file and run again")
        return list(reader)
