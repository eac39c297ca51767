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
RUNS = (
    "condition block position task steps stop tokens learning_rate validation_loss trained update_norm"
    " relative_update ends_share"
).split()
TRIALS = "condition block learning_rate after task position score loss chance ceiling chosen".split()
DENSITIES = "topology block matrix layer module weights nonzeros density pattern".split()


def collect_scores(runs: list[tuple[str, str]], paths: list[str], output: str) -> None:
    """scores.csv of every run; `runs` holds the (condition, block) of each of `paths`."""
    rows = []
    for (condition, block), path in zip(runs, paths, strict=True):
        own = sorted(
            _read(path, SCORES[2:]), key=lambda r: (int(r["after"]), int(r["position"]), r["part"] != "all")
        )
        rows += [{"condition": condition, "block": block, **row} for row in own]
    files.write(output, csv_text(rows, SCORES))


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
    rows = []
    for (name, block), path in zip(topologies, paths, strict=True):
        own = [column for column in DENSITIES if column not in ("topology", "block")]
        rows += [{**row, "topology": name, "block": block} for row in _read(path, own)]
    files.write(output, csv_text(rows, DENSITIES))


def _read(path: str, columns: list[str]) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{path}: no column {', '.join(missing)}; delete the file and run again")
        return list(reader)
